"""`make hunt SHARD=2/8`: what do long searches find that `make check` has no time to look for?

Every test that draws its examples, and the search for each seeded bug, one process each. Each shard, and each round (ROUND=2), draws by chance of its own. What is done is noted in build/hunt/,
so that a hunt which was stopped goes on where it was. What fails is kept in tests/corpus, for `make
check` to try again for ever: commit it with what mends it.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from e2e.stages import PYTHON

STATE = Path("build/hunt")
PYTEST = (PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider")
QUICK = "hypothesis and not apiserver and not cluster and not image"
SEARCHES = "tests/life/hunt_seeded_bugs.py"


def tests(only: str) -> list[str]:
    """All that draw, by name; those whose name has ``only`` in it."""
    found: list[str] = []
    for arguments in (("tests", "-m", QUICK), (SEARCHES,)):
        told = pytest("--collect-only", *arguments)
        if told.returncode:
            sys.exit(told.stdout + told.stderr)
        found += [line for line in told.stdout.splitlines() if "::" in line and only in line]
    return found


def hunted(test: str) -> tuple[bool, str]:
    """Whether it found nothing, and what it said."""
    told = pytest(test)
    return told.returncode == 0, told.stdout + told.stderr


def pytest(*arguments: str) -> "subprocess.CompletedProcess[str]":
    hunts = os.environ | {"PREAMAR_HYPOTHESIS": "hunt"}
    return subprocess.run(
        (*PYTEST, *arguments), env=hunts, capture_output=True, text=True, check=False
    )


class Notes:
    """What a shard has done in a round, and how it went."""

    def __init__(self, shard: str, round_: str) -> None:
        self.path = STATE / f"{shard.replace('/', '-of-')}-round-{round_}.json"
        self.done: dict[str, bool] = json.loads(self.path.read_text()) if self.path.exists() else {}

    def note(self, test: str, well: bool) -> None:
        self.done[test] = well
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".new")
        beside.write_text(json.dumps(self.done, indent=1))
        beside.replace(self.path)


def main() -> int:
    shard, round_ = os.environ.get("SHARD") or "1/1", os.environ.get("ROUND") or "1"
    number, of = map(int, shard.split("/"))
    if not 1 <= number <= of:
        sys.exit(f"SHARD is {shard}; write a number from 1 to {of} before the /{of}")
    notes, every = Notes(shard, round_), tests(os.environ.get("NAMES") or "")
    left = [test for test in every if test not in notes.done]
    print(
        f"{len(left)} of {len(every)} tests to hunt with; {notes.path} has the others", flush=True
    )
    for count, test in enumerate(left, len(every) - len(left) + 1):
        began = time.monotonic()
        well, said = hunted(test)
        notes.note(test, well)
        told = "nothing found" if well else "FOUND"
        print(
            f"{count}/{len(every)} {told} in {time.monotonic() - began:.0f} s: {test}", flush=True
        )
        if not well:
            print(said, flush=True)
    found = [test for test in every if not notes.done[test]]
    print(f"{len(found)} found something" + "".join(f"\n  {test}" for test in found))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
