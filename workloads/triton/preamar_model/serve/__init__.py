"""Does it serve, and does it live?"""
