"""Which trainer trains a job? There is one so far; another is a folder beside it, and a choice here."""

from preamar.core.training.backends.backend import TrainerBackend
from preamar.core.training.backends.deepspeed.backend import DeepSpeed

BACKEND: TrainerBackend = DeepSpeed()
