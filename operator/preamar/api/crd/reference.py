"""What does a page of the field reference say?"""

from collections.abc import Iterator
from typing import Any

from preamar.api import GROUP, VERSION
from preamar.api.crd.kinds import ResourceKind

_BOUNDS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "maxLength": "at most {} characters",
    "maxItems": "at most {} entries",
    "maxProperties": "at most {} keys",
}


def _fields(schema: dict[str, Any], at: str = "") -> Iterator[tuple[str, dict[str, Any], bool]]:
    required = schema.get("required", ())
    for name, child in schema.get("properties", {}).items():
        path = f"{at}.{name}" if at else name
        yield path, child, name in required
        yield from _fields(child, path)
        yield from _fields(child.get("items", {}), f"{path}[]")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _type(schema: dict[str, Any]) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return "whole number or text"
    if schema["type"] == "array":
        return f"list of {_type(schema['items'])}"
    if "additionalProperties" in schema:
        return f"map to {_type(schema['additionalProperties'])}"
    named: dict[str, str] = {
        "string": "text",
        "integer": "whole number",
        "boolean": "true or false",
    }
    return named.get(schema["type"], str(schema["type"]))


def _allowed(schema: dict[str, Any]) -> str:
    said = [" ".join(f"`{v}`" for v in schema["enum"])] if "enum" in schema else []
    said += [text.format(schema[k]) for k, text in _BOUNDS.items() if k in schema]
    return ", ".join(said)


def _default(schema: dict[str, Any], required: bool) -> str:
    if required:
        return "required"
    default = schema.get("default")
    if default is None or default in ({}, []):
        return ""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f'`"{default}"`' if default == "" or schema.get("type") == "string" else f"`{default}`"


def _rules(schema: dict[str, Any], at: str) -> Iterator[str]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield f"- `{at}{rule.get('fieldPath', '')}`: {rule['message']}."
    for name, child in schema.get("properties", {}).items():
        yield from _rules(child, f"{at}.{name}" if at else name)
    if "items" in schema:
        yield from _rules(schema["items"], f"{at}[]")


def page(kind: ResourceKind, manifest: dict[str, Any], notice: str) -> str:
    """The reference page of a kind, as Markdown."""
    name = kind.model.__name__
    version = manifest["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    where = f"`apiVersion: {GROUP}/{VERSION}`, `kind: {name}`, {kind.scope.lower()}."
    typed = f"With kubectl: `{kind.plural}.{GROUP}`, short `{'`, `'.join(kind.short)}`."
    lines = [
        f"<!-- {notice} -->",
        f"# {name}",
        "",
        str(schema["description"]),
        "",
        f"{where} {typed}",
    ]
    for part in ("spec", "status"):
        node = schema["properties"][part]
        lines += [
            "",
            f"## {part}",
            "",
            "| field | type | allowed | default | meaning |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| `{path}` | {_type(child)} | {_cell(_allowed(child))} | "
            f"{_cell(_default(child, required))} | {_cell(child.get('description', ''))} |"
            for path, child, required in _fields(node)
        ]
    rules = list(_rules({**schema, "properties": {"spec": schema["properties"]["spec"]}}, ""))
    if rules:
        lines += ["", "## Rules", "", *rules]
    return "\n".join(lines) + "\n"
