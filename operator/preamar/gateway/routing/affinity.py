"""Which requests are likely to begin alike, and where they should meet?

A model server that keeps what it has read of a prompt answers the next one with the same beginning
sooner. A conversation begins alike in each of its turns: with its system prompt and the first thing
that its user said.
"""

from collections.abc import Sequence
from zlib import crc32

SHORTEST, PREFIX = 64, 512
"""Characters that count: what is shorter is read anew as fast as it is found, and more would tell
apart what shares most of its work."""
NONE = 0


def of_text(text: str | bytes) -> int:
    """A number for how a prompt begins; ``NONE`` for a short one."""
    if len(text) < SHORTEST:
        return NONE
    begin = text[:PREFIX]
    return crc32(begin.encode() if isinstance(begin, str) else begin) or 1


def of_messages(messages: Sequence[dict[str, str]]) -> int:
    """A number for how a conversation begins: up to its first message of a user."""
    found, length = NONE, 0
    for message in messages:
        length += len(message["content"])
        found = crc32(message["content"][:PREFIX].encode(), found)
        if message["role"] == "user":
            break
    return found or 1 if length >= SHORTEST else NONE


def weight(affinity: int, seed: int) -> int:
    """How much requests of an affinity belong on the replica with that seed: highest random weight
    (Thaler and Ravishankar 1998). All gateways agree on it, and a replica that comes or goes moves
    only what it takes or had."""
    mixed = (affinity ^ seed * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    return mixed ^ mixed >> 27
