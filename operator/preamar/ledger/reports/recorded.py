"""What does the ledger say was used of a model in some time? For a comparison with what the model
servers counted, which count a request when it ends.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Engine, case, func, or_, select

from preamar.ledger.tables.schema import requests

LONGEST_SECONDS = 24 * 3600
"""A request that began earlier than this before the time asked about has ended by then: it lets the
database look at few rows."""
METADATA = ("/v2/metadata", "grpc/ModelMetadata")
STREAMS = "grpc/ModelStreamInfer"
CUT = (499, 500, 502, 504)
"""How a request ends that a model server has seen and that its caller has not got whole."""
AT_ONCE = 100
"""Intervals in one question; a database takes only so deep a condition."""
Interval = tuple[float, float]


class Recorded(NamedTuple):
    """Requests that a model server has seen: ``whole`` and ``cut`` ones (answered in part or not at
    all), and streams of which each may be several; and input and output tokens of them all."""

    whole: int = 0
    cut: int = 0
    streams: int = 0
    tokens: int = 0


def recorded(engine: Engine, model: str, since: float, until: float) -> Recorded:
    """Of requests that ended after ``since`` and not after ``until``, in seconds since 1970."""
    row = requests.c
    ended = (row.finished > since * 1000) & (row.finished <= until * 1000)
    return _sums(engine, model, since, ended)


def around(engine: Engine, model: str, times: Sequence[Interval]) -> Recorded:
    """Of requests that were under way in any of these intervals, each of them once."""
    found = [Recorded()]
    ordered = merged(times)
    row = requests.c
    for at in range(0, len(ordered), AT_ONCE):
        part = ordered[at : at + AT_ONCE]
        overlap = or_(
            *((row.started <= end * 1000) & (row.finished >= begin * 1000) for begin, end in part)
        )
        found.append(_sums(engine, model, part[0][0], overlap))
    return Recorded(*(sum(column) for column in zip(*found, strict=True)))


def merged(times: Sequence[Interval]) -> list[Interval]:
    """The same time in intervals that do not touch each other, in order."""
    found: list[Interval] = []
    for begin, end in sorted(times):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found


def _sums(engine: Engine, model: str, since: float, which: ColumnElement[bool]) -> Recorded:
    row = requests.c
    whole = (row.status == 200) & (row.endpoint != STREAMS)
    cut = row.status.in_(CUT) & (row.endpoint != STREAMS)
    statement = select(
        func.sum(case((whole, 1), else_=0)),
        func.sum(case((cut, 1), else_=0)),
        func.sum(case((row.endpoint == STREAMS, 1), else_=0)),
        func.sum(row.input_tokens + row.output_tokens),
    ).where(
        row.model == model,
        row.started >= (since - LONGEST_SECONDS) * 1000,
        row.endpoint.not_in(METADATA),
        which,
    )
    with engine.connect() as connection:
        found = connection.execute(statement).one()
    return Recorded(*(int(value or 0) for value in found))
