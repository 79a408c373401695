"""What every resource has in common: its base model, its metadata, its conditions.

``SpecModel`` is strict, because a field that a user has mistyped must not be dropped in silence.
``ObservedModel`` is for what Kubernetes or the operator wrote: unknown fields are ignored, and
``Status`` leaves out a part that another version wrote differently, so that a resource can
always be read.
"""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    WrapValidator,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from preamar.api.fields.collections import EMPTY, Labels, keyed
from preamar.api.fields.scalars import ObservedTime, Sentence, Whole
from preamar.api.rules import VALIDATIONS, Rule, TransitionRule


class SpecModel(BaseModel):
    """A part of what users write: frozen, camelCase in JSON, unknown fields refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, serialize_by_alias=True
    )
    rules: ClassVar[tuple[Rule, ...]] = ()
    changes: ClassVar[tuple[TransitionRule, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        # The API server removes the nulls of fields that it knows before it judges; a field that
        # it does not know is refused with any value.
        known = _known(cls)
        return {k: v for k, v in value.items() if v is not None or k not in known}

    @model_validator(mode="after")
    def _obeys_its_rules(self) -> Self:
        for rule in type(self).rules:
            if not rule.holds(self):
                raise ValueError(rule.message)
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The schema, with the rules as CEL."""
        found = handler.resolve_ref_schema(handler(schema))
        rules = [r.schema() for r in cls.rules] + [c.schema() for c in cls.changes]
        if rules:
            found[VALIDATIONS] = rules
        return found

    def json_body(self) -> dict[str, Any]:
        """As JSON in camelCase, without what is absent."""
        return self.model_dump(mode="json", exclude_none=True)


@cache
def _known(model: type[SpecModel]) -> frozenset[str | None]:
    return frozenset(field.alias for field in model.model_fields.values())


class ObservedModel(SpecModel):
    """A part of what Kubernetes or the operator writes: unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore")


class ObjectMeta(ObservedModel):
    """The part of a resource's metadata that we read."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: Labels = EMPTY
    annotations: Labels = EMPTY
    finalizers: tuple[str, ...] = ()


class Condition(ObservedModel):
    """One thing that is true, false or unknown about the resource, with the reason."""

    type: Annotated[
        str,
        Field(
            max_length=64,
            pattern=r"^[A-Z][A-Za-z0-9]*$",
            description="What the condition is about, such as Ready.",
        ),
    ]
    status: Literal["True", "False", "Unknown"] = Field(
        description="Whether it holds: True, False or Unknown."
    )
    reason: str = Field(
        default="Unknown",
        min_length=1,
        max_length=128,
        pattern=r"^[A-Za-z][A-Za-z0-9_]*$",
        description="The cause in one word, such as ModelNotFound.",
    )
    message: Sentence = Field(default="", description="The cause in a sentence for people.")
    last_transition_time: ObservedTime | None = Field(
        default=None, description="When the status last changed, such as 2027-01-31T18:00:00Z."
    )
    observed_generation: Whole | None = Field(
        default=None,
        ge=0,
        le=2**53,
        description="The metadata.generation that this was judged on, such as 3.",
    )


class Status(ObservedModel):
    """What every status has."""

    observed_generation: Whole | None = Field(
        default=None,
        ge=0,
        le=2**53,
        description="The metadata.generation that this status is about, such as 3.",
    )
    conditions: Annotated[tuple[Condition, ...], Field(max_length=16), keyed("type")] = Field(
        default=(), description="What is true of the resource now, one entry per type."
    )

    def condition(self, type_: str) -> Condition | None:
        """The condition of that type, if there is one."""
        return next((c for c in self.conditions if c.type == type_), None)


def _what_can_be_read(value: Any, handler: Any) -> Any:
    try:
        return handler(value)
    except ValidationError as error:
        if not isinstance(value, dict):
            return handler({})
        unreadable = {problem["loc"][0] for problem in error.errors() if problem["loc"]}
        return handler({k: v for k, v in value.items() if k not in unreadable})


S = TypeVar("S", bound=Status)
Readable = Annotated[S, WrapValidator(_what_can_be_read)]


def problems(error: ValidationError) -> tuple[str, ...]:
    """What is wrong, a sentence each: where, then what must hold."""
    told = []
    for found in error.errors(include_url=False, include_context=False, include_input=False):
        where = ".".join(str(step) for step in found["loc"])
        what = found["msg"].removeprefix("Value error, ")
        told.append(f"{where}: {what}" if where else what)
    return tuple(told)
