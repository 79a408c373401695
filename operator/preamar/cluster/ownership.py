"""Who owns which field: server-side apply on plain JSON, as far as our objects need it.

``leaves`` names every value by its path, with lists of named things keyed by their name, so that
two writers of one list do not overwrite each other. ``merge`` writes what an applier sends and
removes what it sent before and no longer sends, unless another owns that too.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Path = tuple[str, ...]

# Lists which the API server merges by a key. Every other list is one value.
KEYED: Mapping[str, tuple[str, ...]] = {
    "conditions": ("type",),
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "ownerReferences": ("uid",),
    "ports": ("containerPort", "port", "protocol"),
    "imagePullSecrets": ("name",),
}


def keys_of(name: str, value: list[Any]) -> list[str] | None:
    """The keys of a list's items, None where the list is one value."""
    fields = KEYED.get(name)
    if fields is None or not all(isinstance(item, Mapping) for item in value):
        return None
    keys = ["/".join(str(item.get(field, "")) for field in fields) for item in value]
    return keys if len(set(keys)) == len(keys) else None


def leaves(value: Any, path: Path = ()) -> Iterator[Path]:
    """The path of every value which has no named parts, and of every named item of a list."""
    name = path[-1] if path else ""
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from leaves(part, (*path, key))
        return
    if isinstance(value, list) and value and (keys := keys_of(name, value)) is not None:
        for key, item in zip(keys, value, strict=True):
            yield (*path, f"[{key}]")
            yield from leaves(item, (*path, f"[{key}]"))
        return
    yield path


def merge(live: Any, sent: Any, name: str = "") -> Any:
    """``live`` with everything that ``sent`` says."""
    if isinstance(live, Mapping) and isinstance(sent, Mapping):
        return dict(live) | {
            key: merge(live[key], part, key) if key in live else part for key, part in sent.items()
        }
    if isinstance(live, list) and isinstance(sent, list):
        old, new = keys_of(name, live), keys_of(name, sent)
        if old is None or new is None:
            return sent
        items = dict(zip(old, live, strict=True))
        for key, item in zip(new, sent, strict=True):
            items[key] = merge(items[key], item) if key in items else item
        return list(items.values())
    return sent


def remove(value: Any, path: Path) -> Any:
    """``value`` without what is at ``path``; maps and list items which that empties go too."""
    head, rest = path[0], path[1:]
    if isinstance(value, Mapping):
        if head not in value:
            return value
        if not rest:
            return {key: part for key, part in value.items() if key != head}
        part = _remove_under(value[head], rest, head)
        if part in ({}, []):
            return {key: kept for key, kept in value.items() if key != head}
        return dict(value) | {head: part}
    return value


def _remove_under(value: Any, path: Path, name: str) -> Any:
    if isinstance(value, list) and (keys := keys_of(name, value)) is not None:
        items = []
        for key, item in zip(keys, value, strict=True):
            if f"[{key}]" != path[0]:
                items.append(item)
            elif len(path) > 1 and (left := remove(item, path[1:])):
                items.append(left)
        return items
    return remove(value, path)


def at(value: Any, path: Path) -> Any:
    """What is at a path of ``leaves``; None where there is nothing."""
    for place, step in enumerate(path):
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list):
            keys = keys_of(path[place - 1], value) or []
            value = {f"[{key}]": item for key, item in zip(keys, value, strict=False)}.get(step)
        else:
            return None
    return value


def differs(one: Any, other: Any, path: Path) -> bool:
    """Whether two objects differ at a path; a list's named item differs when only one has it."""
    left, right = at(one, path), at(other, path)
    return (left is None) != (right is None) if path[-1].startswith("[") else left != right


def changed(before: Any, after: Any, path: Path = ()) -> Iterator[Path]:
    """Every path of ``leaves(after)`` at which ``before`` differs, in one walk; what is equal as a
    whole is not walked."""
    if before == after:
        return
    name = path[-1] if path else ""
    if isinstance(after, Mapping) and after:
        old = before if isinstance(before, Mapping) else {}
        for key, part in after.items():
            yield from changed(old.get(key), part, (*path, key))
        return
    if isinstance(after, list) and after and (keys := keys_of(name, after)) is not None:
        known = (keys_of(name, before) or []) if isinstance(before, list) else []
        items = dict(zip(known, before, strict=False)) if known else {}
        for key, item in zip(keys, after, strict=True):
            if key not in items:
                yield (*path, f"[{key}]")
            yield from changed(items.get(key), item, (*path, f"[{key}]"))
        return
    if not name.startswith("["):
        yield path
