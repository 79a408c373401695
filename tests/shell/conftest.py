"""Fixtures of this ring."""

from tests.apiserver import kubeconfig

__all__ = ["kubeconfig"]
