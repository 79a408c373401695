"""Which model is served, and may it be?"""
