"""What Triton's python backend runs: one module per task. Each `model.py` of a built repository
only names its class here, so that the code is the image's and never the user's.
"""
