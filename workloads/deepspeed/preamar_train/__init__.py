"""Trains a language model with DeepSpeed in the pods of a TrainingJob.

`preamar-train agent` is PID 1 of each pod; it starts one `preamar-train rank` per rank.
Nothing here talks to Kubernetes: orders come by environment, answers go by files and HTTP.
"""
