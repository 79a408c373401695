"""How is a Triton model configuration written? As protobuf text, field by field, nothing more.

`EnumWord` is an enum value (bare); a string is quoted with its bytes escaped; a list repeats its
field; a mapping is a nested message.
"""

from collections.abc import Iterator, Mapping


class EnumWord(str):
    """A value of a protobuf enum, written without quotes."""

    __slots__ = ()


def text(message: Mapping[str, object]) -> str:
    return "\n".join(_fields(message, "")) + "\n"


def _fields(message: Mapping[str, object], indent: str) -> Iterator[str]:
    for name, value in message.items():
        for item in value if isinstance(value, list | tuple) else (value,):
            if isinstance(item, Mapping):
                inner = list(_fields(item, indent + "  "))
                yield from (f"{indent}{name} {{", *inner, f"{indent}}}")
            else:
                yield f"{indent}{name}: {_scalar(item)}"


def _scalar(value: object) -> str:
    if isinstance(value, EnumWord):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, str):
        return '"' + "".join(_escaped(byte) for byte in value.encode()) + '"'
    raise TypeError(f"{type(value).__name__} has no place in a model configuration")


def _escaped(byte: int) -> str:
    if byte in b'"\\':
        return "\\" + chr(byte)
    return chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}"
