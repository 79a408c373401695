"""From a model to a structural schema: what is rewritten, and what is refused.

Holds: api/crd/structural.py
"""

from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from preamar.api.crd.structural import NotStructural, structural, without_defaults


def schema_of(annotation: Any, default: Any = ...) -> Any:
    made = type(
        "Made",
        (BaseModel,),
        {"__annotations__": {"it": annotation}, **({} if default is ... else {"it": default})},
    )
    return structural(made.model_json_schema())["properties"]["it"]


class Inner(BaseModel):
    """Inside."""

    model_config = ConfigDict(extra="forbid")
    size: int = Field(default=3, ge=1, le=9)


class Tree(BaseModel):
    children: "list[Tree]" = []


class Other(BaseModel):
    name: str = "x"


def test_a_reference_is_filled_in_and_its_default_is_said_once():
    found = schema_of(Inner, Inner())
    assert found == {
        "description": "Inside.",
        "type": "object",
        "default": {},
        "properties": {"size": {"type": "integer", "default": 3, "minimum": 1, "maximum": 9}},
    }


def test_the_words_beside_a_reference_win():
    assert (
        schema_of(Annotated[Inner, Field(description="Said here.")])["description"] == "Said here."
    )


def test_an_optional_is_the_type_itself_without_a_default():
    assert schema_of(int | None, None) == {"type": "integer"}


def test_an_optional_model_keeps_its_fields():
    assert schema_of(Inner | None, None)["properties"]["size"]["maximum"] == 9


def test_bounds_outside_an_optional_are_not_lost():
    assert schema_of(Annotated[int | None, Field(ge=2, le=5)], None) == {
        "type": "integer",
        "minimum": 2,
        "maximum": 5,
    }


def test_an_exclusive_bound_of_a_whole_number_moves_by_one():
    assert schema_of(Annotated[int, Field(gt=0, lt=10)]) == {
        "type": "integer",
        "minimum": 1,
        "maximum": 9,
    }


def test_an_exclusive_bound_of_another_number_becomes_a_flag():
    assert schema_of(Annotated[float, Field(gt=0)]) == {
        "type": "number",
        "minimum": 0,
        "exclusiveMinimum": True,
    }


def test_one_literal_is_an_enum_of_one():
    assert schema_of(Literal["a"]) == {"type": "string", "enum": ["a"]}


def test_a_set_is_a_list_of_type_set():
    assert schema_of(set[str]) == {
        "type": "array",
        "items": {"type": "string"},
        "x-kubernetes-list-type": "set",
    }


def test_a_typed_map_keeps_its_type():
    assert schema_of(dict[str, int])["additionalProperties"] == {"type": "integer"}


def test_an_untyped_map_keeps_what_it_does_not_know():
    assert schema_of(dict[str, Any]) == {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
    }


def test_a_number_or_a_text_is_int_or_string():
    assert schema_of(int | str) == {"x-kubernetes-int-or-string": True}


@pytest.mark.parametrize(
    ("annotation", "told"),
    [
        (Tree, "holds itself"),
        (Inner | Other, "union"),
        (Decimal, "union"),
        (timedelta, "duration"),
        (tuple[int, str], "prefixItems"),
        (list, "must have a type"),
        (Any, "must have a type"),
    ],
)
def test_what_no_structural_schema_can_say_is_refused(annotation, told):
    with pytest.raises(NotStructural, match=told):
        schema_of(annotation)


@pytest.mark.parametrize("pattern", ["^(?!a)b$", "(?<=a)b", r"(a)\1", "a++"])
def test_a_pattern_that_re2_cannot_run_is_refused(pattern):
    with pytest.raises(NotStructural, match="RE2"):
        structural({"type": "string", "pattern": pattern})


def test_a_default_that_is_not_that_of_the_fields_is_refused():
    with pytest.raises(NotStructural, match="defaults of its fields"):
        schema_of(Inner, Inner(size=4))


def test_titles_and_examples_are_left_out():
    assert schema_of(Annotated[str, Field(title="T", examples=["x"], deprecated=True)]) == {
        "type": "string"
    }


def test_status_has_no_defaults():
    found = without_defaults(structural(Inner.model_json_schema()))
    assert "default" not in found["properties"]["size"]
