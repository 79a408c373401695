"""How do we read and write points in time?

As RFC 3339 in UTC with whole seconds, which is what Kubernetes stores in conditions and pods.
``now`` always comes in as an argument: nothing under ``core`` looks at a clock.
"""

from datetime import UTC, datetime


def moment(text: object) -> datetime | None:
    """A time as Kubernetes writes it, None where there is none or it cannot be read."""
    if isinstance(text, datetime):
        return text if text.tzinfo else text.replace(tzinfo=UTC)
    if not isinstance(text, str) or not text:
        return None
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def utc(seconds: int) -> str:
    """A time in seconds since 1970, as Kubernetes reads it."""
    return stamp(datetime.fromtimestamp(seconds, UTC))


def stamp(at: datetime) -> str:
    """A time as Kubernetes reads it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
