"""A training rank killed at each file operation of a checkpoint, and then resumed."""
