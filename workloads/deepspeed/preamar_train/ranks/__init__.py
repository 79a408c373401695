"""How do ranks find each other and act as one?"""
