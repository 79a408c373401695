"""What all tests share."""

from hypothesis import settings

# A promise about time is a test of its own: how long an example takes says how busy the machine is.
settings.register_profile("preamar", deadline=None)
settings.load_profile("preamar")
