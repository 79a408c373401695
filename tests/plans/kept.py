"""Which states are kept, and how are they read?

One compressed file a kind: the first line names the classes and their fields, each other line is a
state: what ``reconcile`` was given, what it answered, and the test in which that was seen.
"""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from preamar.core.serving.reconcile import reconcile as serving
from preamar.core.training.reconcile import reconcile as training
from tests.plans.codec import Reader, Writer, plain

HERE = Path(__file__).resolve().parent
KINDS: dict[str, Callable[..., Any]] = {"serving": serving, "training": training}
BY_HAND = (
    "tests/core/serving/test_reconcile.py",
    "tests/core/training/test_reconcile.py",
    "tests/core/training/test_resize.py",
)
"""Tests whose states somebody thought of one by one: all of them are kept."""


@dataclass(frozen=True)
class State:
    """What a pass was given, as JSON, and its plan. ``seen_in`` is the test that had it."""

    seen_in: str
    given: Any
    plan: Any
    reader: Reader

    @property
    def name(self) -> str:
        """A short name that tells it from all others."""
        return sha256(canonical(self.given).encode()).hexdigest()[:12]

    def arguments(self) -> Any:
        """What ``reconcile`` was given: made anew with each call, so that no pass knows another."""
        return self.reader.read(self.given)


def path_of(kind):
    return HERE / f"{kind}.jsonl.gz"


@cache
def states_of(kind):
    """All states of that kind that are kept."""
    classes, *lines = gzip.decompress(path_of(kind).read_bytes()).decode().splitlines()
    reader = Reader(json.loads(classes))
    return [State(reader=reader, **json.loads(line)) for line in lines]


def keep(kind, seen):
    """Write them. ``seen``: for each, the test, the arguments and the plan."""
    writer = Writer()
    lines = [
        json.dumps({"seen_in": test, "given": writer.write(given), "plan": plan})
        for test, given, plan in seen
    ]
    text = "\n".join([json.dumps(writer.classes), *lines])
    path_of(kind).write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def answer(reconcile, arguments):
    """The plan as JSON, or what was raised."""
    try:
        return plain(reconcile(*arguments))
    except Exception as error:  # noqa: BLE001  that it is raised is what is compared
        return {"raises": f"{type(error).__name__}: {error}"}


def canonical(value):
    """The same text for the same JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
