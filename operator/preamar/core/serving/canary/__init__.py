"""Is a new revision as good as the one before?"""
