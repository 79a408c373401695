"""How does text come, token by token?"""
