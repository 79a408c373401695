"""What does a trusted model's own config.pbtxt become? Itself, with the name it is served under
and the python backend; Triton checks the rest when it loads it.
"""

import re
from collections.abc import Iterator

from preamar_model.refusal import invalid

FIELD = re.compile(r'^\s*(name|backend|platform)\s*:\s*["\']([^"\']*)["\']\s*,?\s*;?\s*(?:#.*)?$')


def configuration(text: str, name: str) -> str:
    kept = []
    for line, field, value in top_fields(text):
        if field in {"backend", "platform"} and value != "python":
            raise invalid(f"config.pbtxt asks for {field} {value!r}; a Python model's is 'python'.")
        if field is None:
            kept.append(line)
    return "\n".join([f'name: "{name}"', 'backend: "python"', *kept]) + "\n"


def top_fields(text: str) -> Iterator[tuple[str, str | None, str | None]]:
    """Each line, and the field and its value if it is the name, backend or platform of the model."""
    depth = 0
    for line in text.splitlines():
        bare = re.sub(r'"(\\.|[^"\\])*"|#.*', "", line)
        found = FIELD.match(line) if depth == 0 else None
        yield line, found and found[1], found and found[2]
        depth += sum(bare.count(c) for c in "{[") - sum(bare.count(c) for c in "}]")
