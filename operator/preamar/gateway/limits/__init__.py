"""May the caller use so much?"""
