"""How do ranks tell their agent what they do?"""
