"""How does a job change its size?"""
