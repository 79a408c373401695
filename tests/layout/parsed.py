"""What stands in a file of ours? Several tests ask that of the whole tree: each file is read once."""

import ast
from functools import cache
from pathlib import Path


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """All nodes of a file, its module first."""
    return tuple(ast.walk(ast.parse(path.read_text())))
