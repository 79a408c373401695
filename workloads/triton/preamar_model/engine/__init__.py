"""Compiles a model for one kind of GPU with TensorRT, and tells where the result may run."""
