"""How a key looks, and whether one is what it says: shape and checksum first, hash second.

``sk-pre-<8 id>-<43 base62 of 256 bits>-<6 base62 of the CRC-32 of what precedes>``. Junk fails the
checksum before anything is looked up; the hash of the secret is compared in constant time.
"""

import hmac
import re
import secrets
from binascii import crc32
from typing import NamedTuple

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SHAPE = re.compile(r"(sk-pre-([0-9A-Za-z]{8})-([0-9A-Za-z]{43}))-([0-9A-Za-z]{6})")


class Parts(NamedTuple):
    id: str
    secret: str


def base62(number: int, width: int) -> str:
    """A number in that many digits."""
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(DIGITS[digit])
    return "".join(reversed(digits))


def mint(key_id: str = "") -> tuple[str, Parts]:
    """A new key, or a new secret for a key that exists, and its parts."""
    key_id = key_id or "".join(secrets.choice(DIGITS) for _ in range(8))
    secret = base62(secrets.randbits(256), 43)
    body = f"sk-pre-{key_id}-{secret}"
    return f"{body}-{base62(crc32(body.encode()), 6)}", Parts(key_id, secret)


def parse(key: str) -> Parts | None:
    """The parts of a well-formed key, None for anything else."""
    match = _SHAPE.fullmatch(key)
    if match is None or base62(crc32(match[1].encode()), 6) != match[4]:
        return None
    return Parts(match[2], match[3])


def digest(pepper: bytes, secret: str) -> bytes:
    """What is stored instead of the secret."""
    return hmac.digest(pepper, secret.encode(), "sha256")
