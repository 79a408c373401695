"""What do pods say when they are asked?"""
