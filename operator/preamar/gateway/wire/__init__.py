"""How do bytes travel?"""
