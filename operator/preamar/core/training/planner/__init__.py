"""At which sizes can a job run, and what does it take?"""
