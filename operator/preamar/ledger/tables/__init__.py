"""What does a database remember, and in which units?"""
