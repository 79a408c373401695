"""What does a trusted model's own config.pbtxt become? Itself, with the name it is served under
and the python backend; Triton checks the rest when it loads it.
"""

import re

from preamar_model.refusal import invalid

FIELD = re.compile(r'^\s*(name|backend|platform)\s*:\s*["\']([^"\']*)["\']\s*,?\s*;?\s*$')


def configuration(text: str, name: str) -> str:
    depth = 0
    kept = []
    for line in text.splitlines():
        bare = re.sub(r'"(\\.|[^"\\])*"|#.*', "", line)
        found = FIELD.match(line) if depth == 0 else None
        if found and found[1] != "name" and found[2] != "python":
            raise invalid(
                f"config.pbtxt asks for {found[1]} {found[2]!r}; a Python model's is 'python'."
            )
        if not found:
            kept.append(line)
        depth += sum(bare.count(c) for c in "{[") - sum(bare.count(c) for c in "}]")
    return "\n".join([f'name: "{name}"', 'backend: "python"', *kept]) + "\n"
