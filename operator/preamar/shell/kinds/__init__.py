"""How is each kind watched, gathered and decided?"""
