"""What does a worker's container run?

The agent of the trainer's image. It starts the ranks, which are the built-in trainer or the
user's own program; told by environment, the agent stays PID 1 in both cases, so that ranks,
progress, exit codes and stops are the same. An image without the agent runs the program itself.
"""

from collections.abc import Mapping
from json import dumps

from preamar.api.training import TrainingJobSpec

AGENT = ("preamar-train", "agent")
# One rank in a pod needs no agent to know its place; several need a launcher of the image's own.
_EITHER = (
    f"if command -v {AGENT[0]} > /dev/null; then exec {' '.join(AGENT)}; fi; "
    'if [ "$RANKS_PER_WORKER" = 1 ]; then export RANK="$JOB_COMPLETION_INDEX" '
    'LOCAL_RANK=0 LOCAL_SIZE=1 LOCAL_WORLD_SIZE=1; fi; exec "$@"'
)


def command(spec: TrainingJobSpec) -> list[str]:
    """The container's command."""
    own = [*spec.command, *spec.args]
    return ["sh", "-c", _EITHER, "sh", *own] if own else list(AGENT)


def of_ranks(spec: TrainingJobSpec) -> Mapping[str, str]:
    """What tells the agent to start the user's program as each rank."""
    own = [*spec.command, *spec.args]
    return {"PREAMAR_RANK_COMMAND": dumps(own)} if own else {}
