"""What is spent, and what is leased?"""
