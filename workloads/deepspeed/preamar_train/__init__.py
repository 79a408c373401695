"""Trains a language model with DeepSpeed in the pods of a TrainingJob.

`preamar-train agent` is PID 1 of each pod; it starts one `preamar-train rank` per rank.
Nothing here talks to Kubernetes: orders come by environment, answers go by files and HTTP.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from preamar_train.script import Job


def job(*, samples: int | None = None) -> "Job":
    """The job that this process is a rank of, for a script of one's own (`script.py`). `samples` is
    how many the script has itself, where the job's sources are not what it trains on."""
    from preamar_train.script import Job  # brings torch, which the agent does without

    return Job(samples)
