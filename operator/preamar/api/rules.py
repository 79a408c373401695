"""What must hold between fields, said once for both judges.

A rule is one row: CEL for the API server, a predicate for Python, and the sentence both answer
with. The models run the predicates, the CRDs carry the CEL, and tests/api holds the two to the
same verdict on thousands of documents, so that they cannot drift apart.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

VALIDATIONS = "x-kubernetes-validations"


class HasRules(Protocol):
    """A class with rules of either kind."""

    changes: "ClassVar[tuple[TransitionRule, ...]]"


@dataclass(frozen=True, slots=True)
class Rule:
    """What must hold in one value. ``field`` is the JSON path below it that the error names."""

    cel: str
    holds: Callable[[Any], bool]
    message: str
    field: str | None = None

    def schema(self) -> dict[str, str]:
        """The rule as the API server reads it."""
        where = {"fieldPath": self.field} if self.field else {}
        return {"rule": self.cel, "message": self.message, **where}


@dataclass(frozen=True, slots=True)
class TransitionRule:
    """What must hold between a value and the one it replaces: ``allows(new, old)``."""

    cel: str
    allows: Callable[[Any, Any], bool]
    message: str
    field: str | None = None

    def schema(self) -> dict[str, str]:
        """The rule as the API server reads it."""
        where = {"fieldPath": self.field} if self.field else {}
        return {"rule": self.cel, "message": self.message, **where}


class Obeys:
    """Puts rules on a type which is not a model: ``Annotated[str, Obeys(rule, …)]``."""

    def __init__(self, *rules: Rule) -> None:
        """Keep the rules in the order in which they are asked."""
        self.rules = rules

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Ask every rule after the type itself has agreed."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Carry the CEL into the schema."""
        found = handler(schema)
        found[VALIDATIONS] = [*found.get(VALIDATIONS, []), *(r.schema() for r in self.rules)]
        return found

    def check(self, value: Any) -> Any:
        """The value itself, or a ValueError with the first broken rule's sentence."""
        for rule in self.rules:
            if not rule.holds(value):
                raise ValueError(rule.message)
        return value


def refusals(new: HasRules, old: HasRules) -> tuple[str, ...]:
    """What the API server would say to replacing ``old`` by ``new``: a sentence each."""
    return tuple(
        f"{(change.field or '').lstrip('.')}: {change.message}".lstrip(": ")
        for change in new.changes
        if not change.allows(new, old)
    )
