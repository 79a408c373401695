"""Which request goes when, and to which replica?"""
