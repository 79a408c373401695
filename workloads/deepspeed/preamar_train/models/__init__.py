"""Which models are built in?"""
