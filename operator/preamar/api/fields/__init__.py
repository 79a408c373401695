"""Of which kinds of values are specs made?"""
