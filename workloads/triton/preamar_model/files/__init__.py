"""What is in a model's files?"""
