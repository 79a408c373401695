"""What may come next, rule by rule?"""
