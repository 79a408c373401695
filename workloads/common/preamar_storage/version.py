"""Which version of an object is there, and can it be asked for by name?"""

from collections.abc import Mapping
from typing import Any


def strong_tag(meta: Mapping[str, Any]) -> str | None:
    """The ETag of what obstore lists, where a condition can hold it: a weak one never matches (RFC
    9110, 13.1.1)."""
    tag: str | None = meta["e_tag"]
    return tag if tag and not tag.startswith("W/") else None


def version_of(meta: Mapping[str, Any]) -> str:
    """Its strong ETag, or else when it was last changed."""
    return strong_tag(meta) or meta["last_modified"].isoformat()
