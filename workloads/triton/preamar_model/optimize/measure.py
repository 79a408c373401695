"""How fast are two models beside each other? Called in turns in one process on one thread, each
first every other time, so that whatever else the machine does slows both alike.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from preamar_model.passes.session import Feed, Session

SECONDS = 3.0
ROUNDS = 200
LEAST = 10
WARM = 3


@dataclass(frozen=True, slots=True)
class SpeedFigures:
    p50: float
    p99: float
    """Seconds of a call with one row."""
    throughput: float
    """Rows per second, in batches where the model takes them."""


def compare(
    sessions: Sequence[Session],
    one: Feed,
    many: tuple[Feed, int] | None,
    seconds: float = SECONDS,
) -> list[SpeedFigures]:
    """One figure for each session."""
    single = turns(sessions, one, seconds / 2)
    if many is None:
        throughputs = [1 / np.median(times) for times in single]
    else:
        feed, count = many
        throughputs = [count / np.median(times) for times in turns(sessions, feed, seconds / 2)]
    return [
        SpeedFigures(float(np.median(times)), float(np.percentile(times, 99)), float(through))
        for times, through in zip(single, throughputs, strict=True)
    ]


def turns(sessions: Sequence[Session], feed: Feed, seconds: float) -> list[list[float]]:
    """Seconds of each call, for each session."""
    times: list[list[float]] = [[] for _ in sessions]
    for session in sessions:
        for _ in range(WARM):
            session(feed)
    until = time.monotonic() + seconds
    for number in range(ROUNDS):
        if number >= LEAST and time.monotonic() > until:
            break
        order = range(len(sessions)) if number % 2 else reversed(range(len(sessions)))
        for at in order:
            began = time.perf_counter()
            sessions[at](feed)
            times[at].append(time.perf_counter() - began)
    return times
