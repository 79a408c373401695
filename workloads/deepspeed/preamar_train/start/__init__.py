"""What is there before the first step?"""
