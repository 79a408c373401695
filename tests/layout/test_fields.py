"""Is every field that a user may set read by somebody? One that is accepted and not acted on is a lie.

By its name alone, in the operator, the gateway or an image, outside the API: as an attribute, or as JSON spells it. So a field that shares its
name with another can hide; the recorded plans and the tests of its own room see those.

Holds: protocol/fields.py
"""

import ast
from pathlib import Path

import pytest
from pydantic import BaseModel

from preamar.api.inference import InferenceServiceSpec
from preamar.api.tenant import TenantSpec
from preamar.api.training import TrainingJobSpec
from tests.layout.parsed import nodes

ROOT = Path(__file__).resolve().parents[2]
API = ROOT / "operator/preamar/api"
PASSED_ON = {"placement.tolerations.tolerationSeconds"}
"""Kubernetes' own, which get into pods as they are."""
UNREAD = {"limits.acceleratorHours"}
"""What nobody acts on yet. Nothing may be added here."""


def models_in(annotation):
    """The models that stand somewhere in the type of a field."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {m for inner in getattr(annotation, "__args__", ()) for m in models_in(inner)}


def fields(model, at=""):
    for name, field in model.model_fields.items():
        inner = models_in(field.annotation)
        for each in inner:
            yield from fields(each, f"{at}{field.alias or name}.")
        if not inner:
            yield f"{at}{field.alias or name}", {name, field.alias or name}


def words_read():
    """Attributes and texts of all that runs."""
    found = set()
    for path in (
        each for room in ("operator", "workloads") for each in (ROOT / room).rglob("*.py")
    ):
        if API not in path.parents:
            for node in nodes(path):
                if isinstance(node, ast.Attribute):
                    found.add(node.attr)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(node.value)
    return found


@pytest.fixture(scope="module")
def read():
    return words_read()


def unread(model, read):
    return {place for place, names in fields(model) if not names & read} - PASSED_ON


@pytest.mark.parametrize("model", [InferenceServiceSpec, TrainingJobSpec, TenantSpec])
def test_every_field_is_read_outside_the_api(model, read):
    left = unread(model, read)
    assert left == (UNREAD if model is TenantSpec else set())


def test_a_field_that_nobody_reads_is_found(read):
    class Inner(BaseModel):
        forgotten_by_all: int = 0

    class Outer(BaseModel):
        inner: tuple[Inner, ...] = ()
        replicas: int = 1

    assert unread(Outer, read) == {"inner.forgotten_by_all"}
