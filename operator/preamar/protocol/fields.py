"""Is what another process said of the kind that it must be? Each raises ``ValueError`` or ``TypeError``.

Whoever has the internal key may report, in another version of ours too: what is not understood is
refused as a whole, before anything of it is believed.
"""

from collections.abc import Mapping
from typing import Any

LONGEST_NAME = 253
LARGEST = 2**53


def mapping(body: Any) -> Mapping[str, Any]:
    """An object of JSON."""
    if not isinstance(body, dict):
        raise TypeError("a report and its parts are objects")
    return body


def name(text: Any) -> str:
    """Of a gateway, a service, a pod's address."""
    if not isinstance(text, str) or not 0 < len(text) <= LONGEST_NAME:
        raise ValueError("a name is a text of 1 to 253 characters")
    return text


def count(number: Any) -> int:
    """How many."""
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < LARGEST:
        raise ValueError("counts are whole numbers from 0")
    return number


def seconds(number: Any) -> float:
    """How long; also a sum of differences, which is a number from 0 as well."""
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise TypeError("seconds are numbers from 0")
    if not 0 <= number < LARGEST:  # nor is NaN
        raise ValueError("seconds are numbers from 0")
    return float(number)


def logarithm(number: Any) -> float:
    """Of a fortune: of either sign, and finite."""
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise TypeError("logarithms are numbers")
    if not -LARGEST < number < LARGEST:  # nor is NaN
        raise ValueError("logarithms are numbers")
    return float(number)
