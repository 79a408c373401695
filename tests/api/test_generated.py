"""The generated files: up to date, small, bounded and described.

Holds: api/crd/__main__.py, api/crd/files.py, api/crd/kinds.py, api/crd/manifest.py,
api/crd/reference.py
"""

import re
from pathlib import Path

import pytest

from preamar.api.crd.__main__ import main
from preamar.api.crd.files import generated
from preamar.api.crd.kinds import KINDS
from preamar.api.crd.manifest import schema_of

ROOT = Path(__file__).resolve().parents[2]


def test_the_files_on_disk_are_those_of_the_models(capsys):
    assert main(["--check"]) == 0, capsys.readouterr().out


def test_a_stale_file_is_told_with_its_difference(tmp_path, capsys):
    assert main(["--root", str(tmp_path)]) == 0
    stale = tmp_path / "crds/tenants.yaml"
    stale.write_text(stale.read_text().replace("ptenant", "other"))
    assert main(["--root", str(tmp_path), "--check"]) == 1
    assert re.search(r"^-.*other\n\+.*ptenant", capsys.readouterr().out, re.MULTILINE)


def test_every_crd_is_under_100_kilobytes():
    assert all(len(t.encode()) < 100_000 for p, t in generated().items() if p.parts[0] == "crds")


def unbounded(schema, at):
    if "enum" in schema or "x-kubernetes-int-or-string" in schema:
        return
    bounds = {
        "string": ["maxLength"],
        "integer": ["minimum", "maximum"],
        "array": ["maxItems"],
        "object": [] if "properties" in schema else ["maxProperties"],
    }
    if schema.get("type") == "number":
        yield f"{at} is a float"
    for bound in bounds.get(schema.get("type"), ()):
        if bound not in schema:
            yield f"{at} has no {bound}"
    if not schema.get("description") and not at.endswith(("[]", "{}")):
        yield f"{at} has no description"
    for name, child in schema.get("properties", {}).items():
        yield from unbounded(child, f"{at}.{name}")
    for inner, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if inner in schema:
            yield from unbounded(schema[inner], at + mark)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.plural)
@pytest.mark.parametrize("part", ["spec", "status"])
def test_every_field_is_bounded_and_described(kind, part):
    assert not list(unbounded(schema_of(kind)["properties"][part], part))
