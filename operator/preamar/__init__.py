"""Preamar: elastic GPU inference and training on Kubernetes."""

__version__ = "0.1.0"
