"""What was used, and what is owed?"""
