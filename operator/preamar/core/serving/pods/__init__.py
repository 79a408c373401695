"""What do the pods of a service look like, and which of them go first?"""
