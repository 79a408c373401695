"""What is known of a rank: its state file, and its last beat, which is never behind."""

from typing import Any

from preamar_train.reports import beat, rank_state


def of_rank(rank: int) -> dict[str, Any]:
    """Its words; `failedStep` is the step that it trained or saved when it was last heard."""
    file = rank_state.of_rank(rank)
    told = rank_state.read(file)
    seen = beat.read(beat.of_state(file))
    if seen is not None:
        told["step"] = max(seen.step, told.get("step") or 0)
        told["failedStep"] = seen.doing
    return told
