"""Makes a model smaller or faster before it is served, on a CPU: pruning, lower precision, and a
gate that compares the result with the model as it came. Nothing worse than the tolerance is
published.
"""
