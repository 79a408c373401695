"""Does a status say anything that has not been told before?

A status that says the same is not written again: each write wakes everybody who watches.
"""

from collections.abc import Mapping
from typing import Any

from preamar.api.meta import ObservedModel


def says(told: ObservedModel, words: Mapping[str, Any]) -> bool:
    """Whether what was ``told`` is just what these words of JSON would be read as: what they leave
    out is as if its default were written, and what the schema does not know is no word."""
    for name, field in type(told).model_fields.items():
        word = words.get(field.alias or name)
        if word is None:
            word = field.get_default(call_default_factory=True)
        if not _same(getattr(told, name), word):
            return False
    return True


def _same(told: Any, word: Any) -> bool:
    if isinstance(told, ObservedModel) and isinstance(word, Mapping):
        return says(told, word)
    if isinstance(told, tuple) and isinstance(word, list):
        return len(told) == len(word) and all(map(_same, told, word))
    return bool(told == word)
