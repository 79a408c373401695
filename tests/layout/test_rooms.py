"""Is the tree a house of small rooms? No folder is crowded, and none of its parts, files and folders,
needs another that needs it again: what is imported shows which stands on which.

Holds: operator/preamar/, workloads/
"""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

from tests.layout.parsed import nodes

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {
    "preamar": ROOT / "operator",
    "preamar_model": ROOT / "workloads/triton",
    "preamar_train": ROOT / "workloads/deepspeed",
    "preamar_storage": ROOT / "workloads/common",
}
MOST_MODULES = 16
MOST_LINES = 300


def modules(package):
    found = {}
    for path in (SOURCES[package] / package).rglob("*.py"):
        parts = path.relative_to(SOURCES[package]).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name, path, known):
    """The modules of ours that a file imports, wherever in it."""
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {each if each in known else node.module for each in inner}
    return (found & set(known)) - {name}


def parts_of(folder, graph):
    """Which part of a folder needs which, for its files and folders."""
    depth = folder.count(".") + 2

    def part(module):
        inside = module.startswith(f"{folder}.")
        return ".".join(module.split(".")[:depth]) if inside else None

    needs = defaultdict(set)
    for module, imported in graph.items():
        if own := part(module):
            needs[own] |= {other for each in imported if (other := part(each))} - {own}
    return needs


def circle(needs):
    """Some parts that stand on each other; empty if there are none."""
    left = {part: set(others) for part, others in needs.items()}
    while True:
        settled = {part for part, others in left.items() if not others & set(left)}
        if not settled:
            return sorted(left)
        left = {part: others for part, others in left.items() if part not in settled}


@pytest.mark.parametrize("package", SOURCES)
def test_no_part_of_a_folder_needs_one_that_needs_it_again(package):
    known = modules(package)
    graph = {name: imports(name, path, known) for name, path in known.items()}
    folders = {name for name, path in known.items() if path.name == "__init__.py"}
    circles = {f: found for f in folders if (found := circle(parts_of(f, graph)))}
    assert not circles


def test_a_circle_is_found():
    graph = {"p.a.x": {"p.b"}, "p.b": {"p.c"}, "p.c": {"p.a.y"}, "p.a.y": set(), "p.d": {"p.b"}}
    assert circle(parts_of("p", graph)) == ["p.a", "p.b", "p.c", "p.d"]
    assert not circle(parts_of("p", graph | {"p.c": set()}))


@pytest.mark.parametrize("package", SOURCES)
def test_no_folder_is_crowded(package):
    counts = defaultdict(int)
    for path in modules(package).values():
        counts[path.parent.relative_to(ROOT)] += path.name != "__init__.py"
    assert not {str(folder): n for folder, n in counts.items() if n > MOST_MODULES}


@pytest.mark.parametrize("room", ["core", "gateway"])
def test_a_file_is_read_in_one_go(room):
    """None is longer than a person reads at once."""
    files = [*(SOURCES["preamar"] / "preamar" / room).rglob("*.py")]
    assert len(files) > 50
    long = {p.name: n for p in files if (n := p.read_text().count("\n")) > MOST_LINES}
    assert not long


@pytest.mark.parametrize("package", SOURCES)
def test_every_module_says_what_it_answers(package):
    silent = [
        str(path.relative_to(ROOT))
        for path in modules(package).values()
        if path.name != "__init__.py" and not ast.get_docstring(nodes(path)[0])
    ]
    assert not [each for each in silent if "/migrations/" not in each]
