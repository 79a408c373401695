"""What changes in a graph that is optimised?"""
