"""``preamar status NAME``: is it well, and if not why not, in one sentence.

Exit code 0: it serves, trains or has succeeded. 3: not yet. 1: it cannot go on without a person.
"""

import sys
from collections.abc import Sequence
from typing import Any

from preamar.api.inference import InferenceService
from preamar.api.meta import Condition
from preamar.api.training import TrainingJob
from preamar.cli.look import common

NOT_READY = 3


def run(arguments: Sequence[str]) -> int:
    """Run the command with the arguments after its name; returns the exit code."""
    parser = common.parser("status", "Is it well, and if not why not, in one sentence.")
    parser.add_argument("name", help="of the TrainingJob or InferenceService")
    given = parser.parse_args(arguments)

    async def act(client: Any, namespace: str) -> int:
        found = await common.job_named(client, namespace, given.name)
        resource = found or await common.service_named(client, namespace, given.name)
        if resource is None:
            raise common.Missing(
                f"there is no TrainingJob or InferenceService {given.name!r} in namespace {namespace}"
            )
        code, sentence = judged(resource)
        sys.stdout.write(f"{given.name}: {sentence}\n")
        return code

    return common.run("status", given, act)


def judged(resource: TrainingJob | InferenceService) -> tuple[int, str]:
    """The exit code and the sentence. What a person must act on is said first."""
    said = {each.type: each for each in resource.status.conditions}
    if not said:
        return NOT_READY, "the operator has not looked at it yet; does it run?"
    stalled = said.get("Stalled")
    if stalled is not None and stalled.status == "True":
        return common.FAILED, _words(stalled)
    order = ("Succeeded", "Running") if isinstance(resource, TrainingJob) else ("Ready",)
    for kind in order:
        found = said.get(kind)
        if found is not None and found.status == "True":
            return common.DONE, _words(found)
    last = said.get(order[-1])
    return NOT_READY, _words(last) if last else "nothing is known of it."


def _words(condition: Condition) -> str:
    return f"{condition.reason}: {condition.message}"
