"""Documents to judge: what a schema allows, and what is a little off.

They are drawn from the committed CRDs and not from the models, with one seed, so that a run can be
repeated. About half should be accepted: a judge that always says no would agree with itself only.
"""

import copy
import random
import re
from functools import cache
from re import _constants as op  # what the patterns themselves are made of
from re import _parser as parser
from typing import Any

Path = tuple[str | int, ...]
ODD_NUMBERS = (-1, 0, 1, 2, 1.0, 1.5, -0.0, 2**31, 2**53, 2**63, 1e20, -(2**63))
ODD_TEXTS = (
    "", " ", "a\n", "\na", "a\x00b", "\u0663", "\ufffd", "e\u0301", "\U0001f600", "a b", "A", "None", "none",
    "-", ".", "..", "a..b", "0", "-0", "00", "1e3", "0x10", "1.", ".5", "1,5", "NaN", "Infinity", "1" * 30,
    "true", "null", "${x}", "a/b", "pvc://", "pvc://A/b", "pvc://a/../b", "pvc://a//b", "pvc://a/.", "pvc://a/b/",
    "pvc://a", "PVC://a/b", "https://x/../y", "http://x/y", "file:///etc/passwd", "s3://b/k", "hf://a/b", "hf://",
    "pvc://a/b?x", "https://x//y", "https://[::1]/x", "2027-02-30T00:00:00Z", "2027-02-28T24:00:00Z",
    "1999-12-31T23:59:59Z", "2027-01-31T18:00:00Z", "2027-01-31T18:00:00.5Z", "0000-01-01T00:00:00Z",
    "2027-01-31T18:00:00+01:00", "2028-02-29T00:00:00Z", "2027-06-30T23:59:60Z", "PREAMAR_X", "1Gi", "1gi", "-1", "100m", "1.5Gi",
)  # fmt: skip


@cache
def parsed(pattern: str) -> Any:
    return parser.parse(pattern)


def text_like(pattern: str, rng: random.Random, most: int) -> str:  # noqa: C901
    """A text that the pattern matches, mostly a short one."""

    def draw(tokens: Any) -> str:
        out = ""
        for kind, value in tokens:
            if kind is op.LITERAL:
                out += chr(value)
            elif kind is op.IN:
                out += one_of(value)
            elif kind is op.SUBPATTERN:
                out += draw(value[3])
            elif kind is op.BRANCH:
                out += draw(rng.choice(value[1]))
            elif kind in {op.MAX_REPEAT, op.MIN_REPEAT}:
                low, high, inner = value
                high = min(int(high), low + rng.choice((0, 1, 2, 6)))
                out += "".join(draw(inner) for _ in range(rng.randint(low, high)))
            elif kind is not op.AT:
                raise ValueError(f"no text for {kind} in {pattern!r}")
        return out

    def one_of(choices: Any) -> str:
        kind, value = rng.choice(choices)
        return chr(rng.randint(*value)) if kind is op.RANGE else chr(value)

    for _ in range(50):
        found = draw(parsed(pattern))
        if len(found) <= most and re.search(pattern, found):
            return found
    raise ValueError(f"no text of {most} characters for {pattern!r}")


def value_like(schema: dict[str, Any], rng: random.Random, chance: float = 0.2) -> Any:  # noqa: C901
    """A value which the schema allows, its rules between fields aside."""
    if "enum" in schema:
        return rng.choice(schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return rng.choice((0, 1, 2, "1", "100m", "2Gi", "1.5", "0.25", 10**15 - 1))
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return rng.choice(({}, {"a": 1}, {"a": {"b": [1.5, "x", True, {"c": "d"}]}}))
    match schema["type"]:
        case "boolean":
            return rng.random() < 0.5
        case "integer":
            low, high = schema["minimum"], schema["maximum"]
            near = [n for n in (low, low + 1, 2, 4, 8, high) if low <= n <= high]
            return rng.choice((*near, rng.randint(low, min(high, low + 16))))
        case "string":
            most = schema["maxLength"]
            if "pattern" in schema:
                return text_like(schema["pattern"], rng, most)
            return rng.choice(
                ("x", "a b", "\U0001f600", "x" * most, "é" * schema.get("minLength", 1))
            )
        case "array":
            count = rng.choice((0, 1, 1, 2, 3))
            return [value_like(schema["items"], rng, chance) for _ in range(count)]
        case "object" if "properties" in schema:
            needed = schema.get("required", ())
            return {
                name: value_like(child, rng, chance)
                for name, child in schema["properties"].items()
                if name in needed or rng.random() < chance
            }
        case "object":
            keys = rng.sample(
                ("cpu", "memory", "layers", "zone", "a.b/c", "A-1"), rng.randint(0, 3)
            )
            return {key: value_like(schema["additionalProperties"], rng, chance) for key in keys}
    raise ValueError(f"nothing is like {schema}")


def places(schema: dict[str, Any], value: Any, at: Path = ()) -> list[tuple[Path, dict[str, Any]]]:
    """Every place of a document which the schema knows, also where nothing is yet."""
    found = [(at, schema)] if at else []
    if isinstance(value, dict) or (value is None and "properties" in schema):
        value = value or {}
        for name, child in schema.get("properties", {}).items():
            found += places(child, value.get(name), (*at, name))
        for name in value if "additionalProperties" in schema else ():
            found += places(schema["additionalProperties"], value[name], (*at, name))
    elif isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            found += places(schema["items"], item, (*at, index))
    return found


def spoiled(schema: dict[str, Any], old: Any, rng: random.Random) -> Any:
    """A value that may be wrong in this place: of another type, at or over a bound, or odd."""
    choices: list[Any] = [None, True, 1, "x", [], {}, [None], {"x": 1}, 0.5]
    choices += [rng.choice(ODD_NUMBERS), rng.choice(ODD_TEXTS)]
    kind = schema.get("type", "string")
    if kind == "integer":
        low, high = schema["minimum"], schema["maximum"]
        choices += [low, high, low - 1, high + 1, float(low), float(high), str(low)] * 3
        choices += list(ODD_NUMBERS)
    elif kind == "string":
        most = schema.get("maxLength", 20)
        choices += ["a" * most, "a" * (most + 1), "é" * most, "\U0001f600" * (most + 1)]
        choices += [rng.choice(ODD_TEXTS) for _ in range(12)]
        if isinstance(old, str):
            choices += [old + "\n", old.upper(), old.lower(), old + " ", old * 2, old[:-1]] * 2
    elif kind == "array":
        one = value_like(schema["items"], rng)
        choices += [[one, one], [one, 1], [one] * (schema["maxItems"] + 1)] * 3
        choices.append([value_like(schema["items"], rng) for _ in range(schema["maxItems"])])
    elif isinstance(old, dict):
        unknown = rng.choice(("unknown", "max_seconds", "Name", "", "apiVersion", "x-y", "é"))
        choices += [{**old, unknown: rng.choice((1, None, {}))}] * 6
        if "maxProperties" in schema:
            many = {f"k{i}": 1 for i in range(schema["maxProperties"] + 1)}
            choices += [
                many,
                {**old, "a": None},
                {f"k{i}": "1" for i in range(schema["maxProperties"])},
            ]
    return copy.deepcopy(rng.choice(choices))


def _parent(document: Any, path: Path) -> Any:
    """What holds the last step, made on the way where it is missing; None where it cannot be."""
    for step in path[:-1]:
        if isinstance(document, dict):
            if document.get(step) is None:
                document[step] = {}
            document = document[step]
        elif isinstance(document, list) and isinstance(step, int) and step < len(document):
            document = document[step]
        else:
            return None
    return document


def _set(document: Any, path: Path, value: Any) -> None:
    parent, last = _parent(document, path), path[-1]
    is_there = isinstance(parent, list) and isinstance(last, int) and last < len(parent)
    if isinstance(parent, dict) or is_there:
        parent[last] = value


def _forget(document: Any, path: Path) -> None:
    parent = _parent(document, path)
    if isinstance(parent, dict):
        parent.pop(path[-1], None)


NAMES = ("a", "a-1", "a" * 50, "a" * 51, "1a", "a.b", "A", "a-", "a_b", "a" * 64, "", "é")


def plain(crd: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """A document of the kind which its schema allows, its rules between fields aside."""
    names, version = crd["spec"]["names"], crd["spec"]["versions"][0]
    return {
        "apiVersion": f"{crd['spec']['group']}/{version['name']}",
        "kind": names["kind"],
        "metadata": {"name": "a"},
        "spec": value_like(spec_of(crd), rng, rng.choice((0.05, 0.1, 0.3))),
    }


def spec_of(crd: dict[str, Any]) -> dict[str, Any]:
    """The schema of the kind's spec."""
    version = crd["spec"]["versions"][0]
    found: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return found


def spoil(crd: dict[str, Any], made: dict[str, Any], rng: random.Random) -> None:
    """Change a document in one place, more likely than not for the worse."""
    where = rng.random()
    if where < 0.03:
        made["metadata"]["name"] = rng.choice(NAMES)
        return
    if where < 0.05 or not isinstance(made.get("spec"), dict):
        made[rng.choice(("extra", "spec", "Spec"))] = rng.choice((None, 1, {}, []))
        return
    path, schema = rng.choice(places(spec_of(crd), made["spec"]))
    old: Any = made["spec"]
    for step in path:
        known = isinstance(old, list) or (isinstance(old, dict) and step in old)
        old = old[step] if known else None
    if rng.random() < 0.15 and isinstance(path[-1], str):
        _forget(made["spec"], path)
    elif rng.random() < 0.3:
        _set(made["spec"], path, value_like(schema, rng))
    else:
        _set(made["spec"], path, spoiled(schema, old, rng))
