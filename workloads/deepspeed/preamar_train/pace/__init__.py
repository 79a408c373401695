"""How fast does it train, and where does the time go?"""
