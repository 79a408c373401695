"""What if the operator dies before or after any of its writes?"""
