"""Do its pods run, fit and answer, and what was learned of them?"""
