"""When was each watch last heard? Kopf hears bookmarks too, but has no hook that tells.

So its one function that yields everything a watch hears is wrapped, for the whole process, while
``hearing`` lasts; and its one request function, because a watch that was connected anew lives too: a
kind of which nothing changes may get no bookmark within the 70 s after which Kopf connects again. If
a later Kopf names them otherwise, this fails at start and in a test.
"""

import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kopf._cogs.clients import api, watching


@dataclass(slots=True)
class WatchHealth:
    """Per plural: when it was last heard, and whether its first list is complete."""

    at: dict[str, float] = field(default_factory=dict)
    listed: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    objects: int = 0

    def silent_seconds(self, plural: str) -> float:
        """Since it was last heard."""
        return time.monotonic() - self.at.get(plural, -1e9)


@contextlib.contextmanager
def hearing() -> Iterator[WatchHealth]:
    """Listen to every watch of this process."""
    ears = WatchHealth()
    original, asked = watching.infinite_watch, api.request

    async def answered(*args: Any, **settings: Any) -> Any:
        response = await asked(*args, **settings)
        plural = watched_by(str(settings.get("url", args[1] if len(args) > 1 else "")))
        if plural is not None:
            ears.at[plural] = time.monotonic()
        return response

    async def overheard(*, resource: Any, **settings: Any) -> AsyncIterator[Any]:
        name = str(resource.plural)
        ears.at[name] = time.monotonic()
        ears.ended.discard(name)
        try:
            async for event in original(resource=resource, **settings):
                ears.at[name] = time.monotonic()
                if event is watching.Bookmark.LISTED:
                    ears.listed.add(name)
                elif name not in ears.listed:
                    ears.objects += 1
                yield event
        finally:
            ears.ended.add(name)

    setattr(watching, "infinite_watch", overheard)  # noqa: B010  # mypy knows it as a function
    setattr(api, "request", answered)  # noqa: B010
    try:
        yield ears
    finally:
        setattr(watching, "infinite_watch", original)  # noqa: B010
        setattr(api, "request", asked)  # noqa: B010


def watched_by(url: str) -> str | None:
    """The plural that a watch request is about; None for any other request."""
    parts = urlsplit(url)
    watch = parse_qs(parts.query).get("watch") == ["true"]
    return parts.path.rstrip("/").rpartition("/")[2] if watch else None
