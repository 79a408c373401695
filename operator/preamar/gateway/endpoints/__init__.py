"""What do callers and administrators speak to?"""
