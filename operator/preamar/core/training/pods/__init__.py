"""What do the pods of an attempt look like?"""
