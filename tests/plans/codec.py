"""How is a value kept so that it can be read again when its class has moved to another module?

A class is kept by its name and its fields' names, and found again among all classes of
``preamar.core``, ``preamar.protocol`` and ``preamar.api``: of several with the name, the one whose
fields fit best. Fields that have their default are left out. What a user writes is kept as his
document, and read by validation. Whoever renames a class or a field that is kept adds a row to a table below.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from importlib import import_module
from inspect import isclass
from math import isfinite
from operator import itemgetter
from pkgutil import walk_packages
from types import MappingProxyType

from pydantic import BaseModel

RENAMED: Mapping[str, str] = {
    "Apart": "AnswerDifferences",
    "Fleet": "HardwareCatalog",
    "Heard": "StopAck",
    "Progress": "ProgressReport",
    "Refusal": "RefusedManifest",
    "Rival": "Claimant",
    "Side": "RevisionCounts",
}
"""Classes that have another name now: the one that is kept, and today's."""
RENAMED_FIELDS: Mapping[tuple[str, str], str] = {}
"""Fields that have: the class and the field as they are kept, and today's field."""
FOLDED_FIELDS: Mapping[tuple[str, str], tuple[str, str]] = {
    ("Settings", "triton_gpu_image"): ("images", "triton-gpu")
}
"""Fields that are entries of a mapping now: the class and the field as they are kept, today's field
and the key in it. Entries that are not kept are those of its default."""
ROOMS = ("preamar.core", "preamar.protocol", "preamar.api")


class Unreadable(Exception):
    """A value that cannot be kept, or read again; the message says which, and what to do."""


def names_of(kind):
    """The fields of a dataclass or a named tuple that its constructor takes, with the defaults of
    those that have one; None for any other class."""
    if is_dataclass(kind):
        return {
            f.name: f.default if f.default_factory is MISSING else f.default_factory()
            for f in fields(kind)
            if f.init
        }
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return {name: kind._field_defaults.get(name, MISSING) for name in kind._fields}
    return None


@cache
def homes():
    """All classes of the rooms by name."""
    found = {}
    for room in map(import_module, ROOMS):
        inside = [import_module(m.name) for m in walk_packages(room.__path__, f"{room.__name__}.")]
        for module in (room, *inside):
            for kind in vars(module).values():
                if isclass(kind) and kind.__module__ == module.__name__:
                    found.setdefault(kind.__name__, []).append(kind)
    return found


class Writer:
    """Turns values into JSON, and notes the fields of each class that it has met."""

    def __init__(self):
        self.classes = {}

    def write(self, value):
        if value is None or isinstance(value, bool) or type(value) in {int, str, list, tuple}:
            return self._plain(value)
        if isinstance(value, BaseModel):
            body = value.model_dump(mode="json", by_alias=True, exclude_unset=True)
            return {"$document": type(value).__name__, "body": body}
        if isinstance(value, Enum):
            return {"$enum": type(value).__name__, "value": value.value}
        if (names := names_of(type(value))) is not None:
            return {"$": self._tag(type(value), names)} | {
                name: self.write(part)
                for name, default in names.items()
                if not _same(part := getattr(value, name), default)
            }
        if isinstance(value, Mapping):
            pairs = [[self.write(key), self.write(part)] for key, part in value.items()]
            return {"$view" if isinstance(value, MappingProxyType) else "$map": pairs}
        if isinstance(value, set | frozenset):
            return {f"${type(value).__name__}": sorted(map(self.write, value), key=repr)}
        if isinstance(value, float):
            return value if isfinite(value) else {"$float": str(value)}
        return self._scalar(value)

    def _plain(self, value):
        if isinstance(value, tuple):
            return {"$tuple": [self.write(part) for part in value]}
        return [self.write(part) for part in value] if isinstance(value, list) else value

    def _scalar(self, value):
        if isinstance(value, datetime):
            return {"$moment": value.isoformat()}
        if isinstance(value, timedelta):
            return {"$seconds": value.total_seconds()}
        if isinstance(value, Decimal):
            return {"$decimal": str(value)}
        if isinstance(value, bytes):
            return {"$bytes": value.hex()}
        raise Unreadable(f"a {type(value)} cannot be kept")

    def _tag(self, kind, names):
        """The class's name, with a number where several classes of one name are kept."""
        tag, number = kind.__name__, 1
        while self.classes.setdefault(tag, list(names)) != list(names):
            number += 1
            tag = f"{kind.__name__}.{number}"
        return tag


class Reader:
    """Turns JSON into values again. ``classes``: the fields that each kept class had."""

    def __init__(self, classes):
        self._classes = classes
        self._homes = {}

    def read(self, value):
        if isinstance(value, list):
            return [self.read(part) for part in value]
        if not isinstance(value, dict):
            return value
        sign = next(iter(value))
        if sign == "$":
            return self._made(value)
        if sign == "$document":
            return _one(value[sign], BaseModel).model_validate(value["body"])
        if sign == "$enum":
            return _one(value[sign], Enum)(value["value"])
        return READ[sign](self.read(value[sign]))

    def _made(self, value):
        tag = value["$"]
        if tag not in self._homes:
            self._homes[tag] = _fitting(tag.partition(".")[0], frozenset(self._classes[tag]))
        old, kind, given = tag.partition(".")[0], self._homes[tag], {}
        for name, part in value.items():
            if (old, name) in FOLDED_FIELDS:
                field, key = FOLDED_FIELDS[old, name]
                given[field] = {**given.get(field, names_of(kind)[field]), key: self.read(part)}
            elif name != "$":
                given[RENAMED_FIELDS.get((old, name), name)] = self.read(part)
        return kind(**given)


READ = {
    "$tuple": tuple,
    "$map": dict,
    "$view": lambda pairs: MappingProxyType(dict(pairs)),
    "$set": set,
    "$frozenset": frozenset,
    "$float": float,
    "$moment": datetime.fromisoformat,
    "$seconds": lambda seconds: timedelta(seconds=seconds),
    "$decimal": Decimal,
    "$bytes": bytes.fromhex,
}


def plain(value):
    """A plan as JSON: its fields and what is in them, without any class."""
    if (names := names_of(type(value))) is not None:
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise Unreadable(f"a plan holds a {type(value)}, which is not JSON")


def _same(part, default):
    return type(part) is type(default) and part == default


def _one(name, base):
    today = RENAMED.get(name, name)
    found = [kind for kind in homes().get(today, ()) if issubclass(kind, base)]
    if len(found) != 1:
        raise Unreadable(f"{len(found)} classes are called {today}: see RENAMED in {__name__}")
    return found[0]


def _fitting(name, kept):
    """The class of that name that has most of the fields and fewest others."""
    kept = {RENAMED_FIELDS.get((name, field), field) for field in kept}
    today = RENAMED.get(name, name)
    ranked = [
        (len(kept ^ set(names)), kind)
        for kind in homes().get(today, ())
        if (names := names_of(kind)) is not None
    ]
    ranked.sort(key=itemgetter(0))
    if not ranked or (len(ranked) > 1 and ranked[0][0] == ranked[1][0]):
        raise Unreadable(f"{len(ranked)} classes {today} fit equally: see RENAMED in {__name__}")
    return ranked[0][1]
