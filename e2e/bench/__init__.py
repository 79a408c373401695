"""Benchmarks of the promises, on the cluster that is up: each module is one and writes build/bench."""
