"""What is the CustomResourceDefinition of a kind?"""

from typing import Any

from preamar.api import GROUP, VERSION
from preamar.api.crd.kinds import Column, ResourceKind
from preamar.api.crd.structural import Schema, structural, without_defaults


def schema_of(kind: ResourceKind) -> Schema:
    """The kind's structural schema."""
    schema = structural(kind.model.model_json_schema(by_alias=True))
    properties = schema["properties"]
    # The API server owns these three, and lets a CRD say nothing more of them.
    properties["apiVersion"] = {"type": "string"}
    properties["kind"] = {"type": "string"}
    properties["metadata"] = {"type": "object"}
    properties["status"] = without_defaults(properties["status"])
    schema["required"] = ["spec"]
    return schema


def _column(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "type": column.type,
        "description": column.description,
        "jsonPath": column.path,
        **({"priority": 1} if column.wide else {}),
    }


def crd(kind: ResourceKind) -> dict[str, Any]:
    """The CustomResourceDefinition, as JSON."""
    name = kind.model.__name__
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [_column(c) for c in kind.columns],
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema_of(kind)},
    }
    if kind.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in kind.selectable]
    if kind.scale:
        version["subresources"]["scale"] = {
            "specReplicasPath": kind.scale.wanted,
            "statusReplicasPath": kind.scale.running,
            "labelSelectorPath": kind.scale.selector,
        }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": kind.scope,
            "names": {
                "kind": name,
                "listKind": f"{name}List",
                "plural": kind.plural,
                "singular": name.lower(),
                "shortNames": list(kind.short),
                "categories": ["preamar"],
            },
            "versions": [version],
        },
    }
