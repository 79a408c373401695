"""What is made of a model before it is served, and how does it take over?"""
