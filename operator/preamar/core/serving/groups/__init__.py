"""How do several pods make one replica?"""
