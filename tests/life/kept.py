"""What happened in a life, step by step, so that it can be lived again.

A step is the name of a rule and what it was called with: JSON that says itself what it means, and
that neither another Hypothesis nor another order of its draws can make into another life.
"""

import ast
import hashlib
import json
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.hunting import CORPUS

LIVES = CORPUS / "lives"
HERE = Path(__file__).parent
NOT_STEPS = {"after_each_step", "teardown"}


@dataclass(frozen=True)
class Life:
    """``shown_by`` is the part of the oracle that failed."""

    machine: str
    steps: list
    shown_by: str

    @classmethod
    def read(cls, path):
        return cls(**json.loads(path.read_text()))

    def write(self, name=""):
        text = ",\n  ".join(json.dumps(step) for step in self.steps)
        told = {k: v for k, v in asdict(self).items() if k != "steps"}
        body = f'{json.dumps(told)[:-1]}, "steps": [\n  {text}\n]}}\n'
        name = name or hashlib.sha256(body.encode()).hexdigest()[:16]
        path = LIVES / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body)
        return path


def relive(machine, steps):
    """The same again, and then the end of any life: the world is left alone, and judged."""
    life = machine()
    for name, arguments in steps:
        getattr(life, name)(**arguments)
        life.after_each_step()
    life.teardown()


def failed_in(error):
    """The part of the oracle whose assertion this is; of any other error none."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    judges = type(error) is AssertionError and Path(last.filename).parent == HERE
    return last.name if judges else ""


def told_by(error):
    """The machine and the steps that Hypothesis has noted on a failure."""
    lines = [n for note in error.__notes__ for n in note.splitlines() if n.startswith("state")]
    first, *calls = ast.parse("\n".join(lines)).body
    steps = [
        [call.value.func.attr, {k.arg: ast.literal_eval(k.value) for k in call.value.keywords}]
        for call in calls
    ]
    kept = [step for step in steps if step[0] not in NOT_STEPS]
    return first.value.func.id, json.loads(json.dumps(kept))


def keep(error):
    """For `make check` to live it again, for ever."""
    machine, steps = told_by(error)
    return Life(machine, steps, failed_in(error)).write()


def shortened(steps, shows):
    """Without the steps that it goes on to be ``shows`` without: many at once, then one by one."""
    size = max(1, len(steps) // 2)
    while size:
        at = len(steps)
        while at > 0:
            fewer = steps[: max(0, at - size)] + steps[at:]
            steps = fewer if shows(fewer) else steps
            at -= size
        size //= 2
    return steps


def failure_of(machine, steps):
    """The part of the oracle in which that life fails, empty if not in any; None if it goes well."""
    try:
        relive(machine, steps)
    except Exception as error:  # noqa: BLE001
        return failed_in(error)
    return None
