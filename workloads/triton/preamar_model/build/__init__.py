"""How does a model become what Triton serves?"""
