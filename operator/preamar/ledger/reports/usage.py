"""What each tenant used, in buckets of time: a fold of the request rows.

``Query`` is what was asked, ``buckets`` the periods that one page shows, ``report`` the page in the
shape of OpenAI's organization usage. Every counted row falls into exactly one bucket and group.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

from sqlalchemy import ColumnElement, Engine, Select, func, select

from preamar.ledger.tables.schema import requests
from preamar.ledger.tables.usage_record import UsageKind

WIDTHS: Mapping[str, int] = {"1m": 60, "1h": 3600, "1d": 86400}
DEFAULT_LIMIT: Mapping[str, int] = {"1m": 60, "1h": 24, "1d": 7}
MOST: Mapping[str, int] = {"1m": 1440, "1h": 168, "1d": 31}
GROUPS = ("project_id", "api_key_id", "model")


class Dated(Protocol):
    """What falls into a bucket, by its start in seconds since 1970."""

    @property
    def bucket(self) -> int:
        """The start."""


T = TypeVar("T", bound=Dated)


class BadQuery(ValueError):
    """The sentence says which parameter is wrong; ``param`` names it."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True, slots=True)
class Query:
    """Times in seconds since 1970: ``start`` included, ``end`` not. ``offset`` counts buckets."""

    kind: UsageKind | None
    start: int
    end: int
    width: str = "1d"
    limit: int = 7
    offset: int = 0
    groups: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


class Sum(NamedTuple):
    """Counts of one group in one bucket; a group that was not asked for is None."""

    bucket: int
    tenant: str | None
    key_id: str | None
    model: str | None
    requests: int
    input_tokens: int
    output_tokens: int


def many(given: Mapping[str, list[str]], name: str) -> tuple[str, ...]:
    """A list of URL parameters, which arrives as ``name`` or ``name[]``."""
    return tuple(given.get(name, [])) + tuple(given.get(f"{name}[]", []))


def query_of(
    kind: UsageKind | None,
    given: Mapping[str, list[str]],
    now: int,
    known: tuple[str, ...] = GROUPS,
    most: Mapping[str, int] = MOST,
) -> Query:
    """A query from URL parameters. Raises ``BadQuery`` for what is not in ``known`` groups, and for
    widths, or more buckets of them, that are not in ``most``."""

    def whole(name: str, default: int | None) -> int:
        values = given.get(name)
        if not values:
            if default is None:
                raise BadQuery(f"{name} is required: seconds since 1970.", name)
            return default
        if not values[-1].isascii() or not values[-1].isdigit() or len(values[-1]) > 11:
            raise BadQuery(f"{name} must be a whole number.", name)
        return int(values[-1])

    width = (given.get("bucket_width") or ["1d"])[-1]
    if width not in most:
        raise BadQuery(f"bucket_width must be {' or '.join(most)}.", "bucket_width")
    start = whole("start_time", None)
    end = whole("end_time", now + 1)
    if end <= start:
        raise BadQuery("end_time must be after start_time.", "end_time")
    limit = whole("limit", DEFAULT_LIMIT[width])
    if not 1 <= limit <= most[width]:
        raise BadQuery(f"limit must be from 1 to {most[width]} for {width}.", "limit")
    groups = many(given, "group_by")
    if unknown := [name for name in groups if name not in known]:
        raise BadQuery(f"group_by knows {', '.join(known)}, not {unknown[0]!r}.", "group_by")
    return Query(
        kind=kind,
        start=start,
        end=end,
        width=width,
        limit=limit,
        offset=whole("page", 0),
        groups=groups,
        projects=many(given, "project_ids"),
        models=many(given, "models"),
        keys=many(given, "api_key_ids"),
    )


def buckets(query: Query) -> tuple[list[tuple[int, int]], bool]:
    """The periods of this page, aligned to the width, cut to the query; and whether more follow."""
    width = WIDTHS[query.width]
    first = query.start // width * width + query.offset * width
    shown = [
        (max(at, query.start), min(at + width, query.end))
        for at in range(first, min(first + query.limit * width, query.end), width)
    ]
    return shown, first + query.limit * width < query.end


def sums(engine: Engine, query: Query) -> list[Sum]:
    """Counted per bucket and group by the database: requests that were answered in whole or part."""
    shown, _ = buckets(query)
    if not shown:
        return []
    row = requests.c
    chosen = {"project_id": row.tenant, "api_key_id": row.key_id, "model": row.model}
    grouped = [chosen[name] for name in GROUPS if name in query.groups]
    start, end = shown[0][0] * 1000, shown[-1][1] * 1000
    statement = counted(start, end, bucket(query), *grouped).where(row.kind == query.kind)
    for column, wanted in (
        (row.tenant, query.projects),
        (row.model, query.models),
        (row.key_id, query.keys),
    ):
        if wanted:
            statement = statement.where(column.in_(wanted))
    with engine.connect() as connection:
        return [
            Sum(
                found.bucket // 1000,
                getattr(found, "tenant", None),
                getattr(found, "key_id", None),
                getattr(found, "model", None),
                found.requests,
                found.input_tokens,
                found.output_tokens,
            )
            for found in connection.execute(statement)
        ]


def counted(start: int, end: int, *columns: ColumnElement[Any]) -> Select[Any]:
    """Requests and tokens from ``start`` to before ``end``, in milliseconds since 1970, by columns:
    of those requests that were answered in whole or in part."""
    row = requests.c
    return (
        select(
            *columns,
            func.count().label("requests"),
            func.sum(row.input_tokens).label("input_tokens"),
            func.sum(row.output_tokens).label("output_tokens"),
            func.sum(row.accelerator_ms).label("accelerator_ms"),
        )
        .where(
            row.started >= start,
            row.started < end,
            (row.status == 200) | (row.input_tokens > 0) | (row.output_tokens > 0),
        )
        .group_by(*columns)
    )


def bucket(query: Query) -> ColumnElement[int]:
    """The start of a request's bucket, in milliseconds since 1970."""
    started, width = requests.c.started, WIDTHS[query.width] * 1000
    return (started - started % width).label("bucket")


def report(query: Query, found: Iterable[Sum]) -> dict[str, Any]:
    """One page in OpenAI's shape. Empty buckets are shown, with no results."""
    kind = query.kind or UsageKind.COMPLETIONS
    return page(query, sorted(found, key=_order), lambda item: _result(kind, item))


def page(query: Query, found: Iterable[T], result: Callable[[T], dict[str, Any]]) -> dict[str, Any]:
    """The buckets of a query with the results of what was found in each, in the order given."""
    by_bucket: dict[int, list[T]] = {}
    for item in found:
        by_bucket.setdefault(item.bucket, []).append(item)
    width = WIDTHS[query.width]
    shown, more = buckets(query)
    data = [
        {
            "object": "bucket",
            "start_time": start,
            "end_time": end,
            "results": [result(item) for item in by_bucket.get(start // width * width, ())],
        }
        for start, end in shown
    ]
    following = str(query.offset + query.limit) if more else None
    return {"object": "page", "data": data, "has_more": more, "next_page": following}


def _order(item: Sum) -> tuple[str, str, str]:
    return (item.tenant or "", item.key_id or "", item.model or "")


def _result(kind: UsageKind, item: Sum) -> dict[str, Any]:
    result: dict[str, Any] = {
        "object": f"organization.usage.{kind}.result",
        "input_tokens": item.input_tokens,
        "num_model_requests": item.requests,
        "project_id": item.tenant,
        "user_id": None,
        "api_key_id": item.key_id,
        "model": item.model,
    }
    if kind is UsageKind.COMPLETIONS:
        result |= {"output_tokens": item.output_tokens, "input_cached_tokens": 0, "batch": None}
    return result
