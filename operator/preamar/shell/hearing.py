"""When was each watch last heard? Kopf hears bookmarks too, but has no hook that tells.

So its one function that yields everything a watch hears is wrapped, for the whole process, while
``hearing`` lasts. If a later Kopf names it otherwise, this fails at start and in a test.
"""

import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

from kopf._cogs.clients import watching


@dataclass(slots=True)
class Ears:
    """Per plural: when it was last heard, and whether its first list is complete."""

    at: dict[str, float] = field(default_factory=dict)
    listed: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    objects: int = 0

    def silent_seconds(self, plural: str) -> float:
        """Since it was last heard."""
        return time.monotonic() - self.at.get(plural, -1e9)


@contextlib.contextmanager
def hearing() -> Iterator[Ears]:
    """Listen to every watch of this process."""
    ears = Ears()
    original = watching.infinite_watch

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
    try:
        yield ears
    finally:
        setattr(watching, "infinite_watch", original)  # noqa: B010
