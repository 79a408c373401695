"""How does a JSON schema by pydantic become a structural schema of Kubernetes?

By a walk that inlines references, hoists optionals out of ``anyOf``, turns newer keywords into
OpenAPI 3.0 ones, and refuses what has no equal (unions, tuples of fixed shape, recursion,
patterns that RE2 cannot run) instead of writing a schema which the API server would refuse or,
worse, read differently.
"""

import re
from collections.abc import Mapping
from typing import Any

from preamar.api.rules import VALIDATIONS

Schema = dict[str, Any]

KEPT = (
    "description",
    "type",
    "nullable",
    "default",
    "enum",
    "pattern",
    "format",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
)
DROPPED = {"title", "examples", "deprecated", "readOnly", "writeOnly", "$defs"}
HANDLED = {"properties", "items", "additionalProperties", "const", "uniqueItems"}


class NotStructural(ValueError):
    """A model says something that no structural schema can say. Names the place."""


def structural(schema: Mapping[str, Any]) -> Schema:
    """The structural schema of a model's ``model_json_schema()``. Raises NotStructural."""
    return _walk(dict(schema), dict(schema.get("$defs", {})), "", ())


def _walk(node: Schema, defs: Mapping[str, Any], at: str, inside: tuple[str, ...]) -> Schema:
    node, inside = _inline(node, defs, at, inside)
    node, inside = _without_null(node, defs, at, inside)
    # Where a bound stands outside an optional, pydantic writes its own name for it.
    node = {{"ge": "minimum", "le": "maximum"}.get(k, k): v for k, v in node.items()}
    _refuse(node, at)
    if "const" in node:
        node["enum"] = [node.pop("const")]
    _no_float_bounds(node)
    found = {k: node[k] for k in KEPT if k in node}
    found |= {k: v for k, v in node.items() if k.startswith("x-kubernetes-")}
    if found.get("default", ...) is None:
        del found["default"]
    if node.get("uniqueItems"):
        found["x-kubernetes-list-type"] = "set"
    if "properties" in node:
        found["properties"] = {
            name: _walk(dict(child), defs, f"{at}.{name}", inside)
            for name, child in node["properties"].items()
        }
    elif node.get("type") == "object":
        found |= _map(node.get("additionalProperties", True), defs, at, inside)
    if "items" in node:
        found["items"] = _walk(dict(node["items"]), defs, f"{at}[]", inside)
    return _shorten_default(found, at)


def _refuse(node: Schema, at: str) -> None:
    """What cannot be said must not be left out in silence."""
    at = at or "the root"
    if unknown := [
        k
        for k in node
        if k not in KEPT and k not in DROPPED | HANDLED and not k.startswith("x-kubernetes-")
    ]:
        raise NotStructural(f"{at}: no structural schema has {', '.join(unknown)}")
    if node.get("format") == "duration":
        raise NotStructural(f"{at}: ISO 8601 durations mean something else; use …Seconds")
    if node.get("type") == "array" and "items" not in node:
        raise NotStructural(f"{at}: a list must say what its items are")
    if not {"type", "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"} & set(
        node
    ):
        raise NotStructural(f"{at}: must have a type")
    # In a character class these signs mean themselves.
    outside = re.sub(r"\[\^?\]?[^]]*\]", "x", node.get("pattern", ""))
    if re.search(r"\(\?(?![:imsU-]|P<)|\\[1-9]|(?<!\\)[*+?}]\+", outside):
        raise NotStructural(f"{at}: RE2 cannot run {node['pattern']!r}")


def _inline(
    node: Schema, defs: Mapping[str, Any], at: str, inside: tuple[str, ...]
) -> tuple[Schema, tuple[str, ...]]:
    """The node with its reference filled in. What stands beside the reference wins."""
    if len(node.get("allOf", ())) == 1:
        node = {**node["allOf"][0], **{k: v for k, v in node.items() if k != "allOf"}}
    while "$ref" in node:
        name = node["$ref"].rsplit("/", 1)[-1]
        if name in inside:
            raise NotStructural(f"{at}: {name} holds itself, which a CRD cannot say")
        inside = (*inside, name)
        node = {**defs[name], **{k: v for k, v in node.items() if k != "$ref"}}
    return dict(node), inside


def _without_null(
    node: Schema, defs: Mapping[str, Any], at: str, inside: tuple[str, ...]
) -> tuple[Schema, tuple[str, ...]]:
    """Optional[T] is T that may be left out: the API server treats null as left out."""
    for union in ("anyOf", "oneOf"):
        if union not in node:
            continue
        branches = [b for b in node[union] if b.get("type") != "null"]
        rest = {k: v for k, v in node.items() if k != union}
        if {b.get("type") for b in branches} == {"integer", "string"} and len(branches) == 2:
            return {**rest, "x-kubernetes-int-or-string": True}, inside
        if len(branches) != 1:
            raise NotStructural(f"{at}: a union has no structural schema; use a field for each")
        return _inline({**branches[0], **rest}, defs, at, inside)
    return node, inside


def _map(values: Any, defs: Mapping[str, Any], at: str, inside: tuple[str, ...]) -> Schema:
    if values is True:
        return {"x-kubernetes-preserve-unknown-fields": True}
    if values is False:
        return {}
    return {"additionalProperties": _walk(dict(values), defs, f"{at}{{}}", inside)}


def _no_float_bounds(node: Schema) -> None:
    """OpenAPI 3.0 wants a bound and a flag where JSON Schema has an exclusive bound."""
    for bound, exclusive, step in (
        ("minimum", "exclusiveMinimum", 1),
        ("maximum", "exclusiveMaximum", -1),
    ):
        limit = node.get(exclusive)
        if limit is None or isinstance(limit, bool):
            continue
        if node.get("type") == "integer":
            node[bound] = limit + step
            del node[exclusive]
        else:
            node[bound], node[exclusive] = limit, True


def defaults_of(schema: Schema) -> Schema:
    """What the API server would fill into an empty object of this schema."""
    filled = {}
    for name, child in schema.get("properties", {}).items():
        if "default" in child:
            value = child["default"]
            filled[name] = {**defaults_of(child), **value} if isinstance(value, dict) else value
    return filled


def _without_nones(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nones(v) for k, v in value.items() if v is not None}
    return value


def _shorten_default(schema: Schema, at: str) -> Schema:
    """An object's default of defaults is {}: said once, where each field is."""
    if schema.get("properties") and isinstance(schema.get("default"), dict):
        filled = defaults_of(schema)
        if _without_nones(schema["default"]) == filled:
            # The API server judges a default by the rules before it fills in the fields' own.
            return {**schema, "default": filled if schema.get(VALIDATIONS) else {}}
        raise NotStructural(f"{at}: an object's default must be the defaults of its fields")
    return schema


def without_defaults(schema: Schema) -> Schema:
    """A schema for status: nobody but the operator may say what is so, not even a default."""
    found = {k: v for k, v in schema.items() if k != "default"}
    if "properties" in found:
        found["properties"] = {k: without_defaults(v) for k, v in found["properties"].items()}
    for inner in ("items", "additionalProperties"):
        if inner in found:
            found[inner] = without_defaults(found[inner])
    return found
