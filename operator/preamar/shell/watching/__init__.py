"""What did the watches tell, and what do we remember?"""
