"""What runs inside a model server's pod: `build` turns a user's model into a Triton model
repository, `serve` runs Triton on it and ends the container when the model has died.
"""
