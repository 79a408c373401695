"""Words: what users write and what they read back. Imports nothing of ours."""

GROUP = "preamar.dev"
VERSION = "v1alpha1"
