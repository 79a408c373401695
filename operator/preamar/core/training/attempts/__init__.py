"""How did attempts end, and what became of their time?"""
