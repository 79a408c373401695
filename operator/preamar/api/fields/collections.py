"""Lists and maps that nobody can change, and that have no entry twice.

Lists are tuples. Maps are ``FrozenMap``, a dict that refuses to be written to, so that it still
goes through json.dumps. ``Keyed`` and ``Distinct`` say to the API server how entries merge.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, NoReturn, TypeVar

from pydantic import AfterValidator, BeforeValidator, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

V = TypeVar("V")


class FrozenMap(dict[str, V]):
    """A dict for reading only; hashable when its values are."""

    def _refuse(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise TypeError("this map is read-only")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        """Equal maps hash alike, whatever their order."""
        return hash(frozenset(self.items()))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """To pydantic it is a dict, also as a default in a schema."""
        return core_schema.no_info_after_validator_function(cls, core_schema.dict_schema())

    def __copy__(self) -> "FrozenMap[V]":
        """What cannot change need not be copied."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "FrozenMap[V]":
        """What cannot change need not be copied."""
        return self

    def __reduce__(self) -> Any:
        """Pickle as a plain dict would, without writing item by item."""
        return (FrozenMap, (dict(self),))


def freeze(value: Any) -> Any:
    """JSON, frozen all the way down."""
    if isinstance(value, Mapping):
        return FrozenMap({k: freeze(v) for k, v in value.items()})
    if isinstance(value, list | tuple):
        return tuple(freeze(v) for v in value)
    return value


def without_nulls(value: Any) -> Any:
    """A mapping without its nulls: the API server removes them before it judges."""
    if isinstance(value, Mapping):
        return {k: v for k, v in value.items() if v is not None}
    return value


Frozen = AfterValidator(freeze)
NoNulls = BeforeValidator(without_nulls)
EMPTY: FrozenMap[Any] = FrozenMap()


class _Unique:
    """No two entries of a list with the same key."""

    def __init__(self, key: Callable[[Any], Any], message: str, extra: dict[str, Any]) -> None:
        self.key = key
        self.message = message
        self.extra = extra

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(schema), **self.extra}

    def check(self, value: Any) -> Any:
        keys = [self.key(item) for item in value]
        if len(set(keys)) != len(keys):
            raise ValueError(self.message)
        return value


def keyed(name: str) -> _Unique:
    """A list whose entries are told apart by one field, and merge by it."""
    return _Unique(
        lambda item: getattr(item, name),
        f"must not have two entries of the same {name}",
        {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [name]},
    )


Distinct = _Unique(
    lambda item: item, "must not have an entry twice", {"x-kubernetes-list-type": "set"}
)
Labels = Annotated[Mapping[str, str], NoNulls, Frozen]
