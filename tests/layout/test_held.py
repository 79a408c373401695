"""Where is the test of a module? Each file of tests names in its docstring the modules it holds, and
each module is named by one at least, or by ``docs/unproved.md`` where nothing here can run it.

Holds: tests/, docs/unproved.md
"""

import ast
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOUSES = (ROOT / "operator/preamar", *sorted((ROOT / "workloads").glob("*/")), ROOT)
"""What the paths that are named may be relative to."""
PACKAGES = (ROOT / "operator/preamar", *ROOT.glob("workloads/*/preamar_*"))
TESTS = sorted(ROOT.glob("tests/**/test_*.py"))
MOST_FILES = 16


def named(docstring):
    """The paths after ``Holds:``, which begins a line; the list ends with its paragraph."""
    _, begun, rest = f"\n{docstring}".partition("\nHolds: ")
    listed = rest.partition("\n\n")[0].split(",")
    return [path.strip() for path in listed] if begun else []


def places(path):
    return [house / path for house in HOUSES if (house / path).exists()]


def modules():
    every = {path for package in PACKAGES for path in package.rglob("*.py")}
    return {path for path in every if path.name != "__init__.py" and path.parent.name != "versions"}


HOLDS = {test: named(ast.get_docstring(ast.parse(test.read_text())) or "") for test in TESTS}


def test_the_list_may_be_long_and_ends_with_its_paragraph():
    assert named("What?\n\nHolds: a/b.py, c.py,\nd.py\n\nIt Holds: no more.") == ["a/b.py", "c.py", "d.py"]  # fmt: skip
    assert named("Holds: a.py") == ["a.py"]
    assert named("Who Holds: this?") == []


def test_every_file_of_tests_says_what_it_holds():
    assert not [str(test.relative_to(ROOT)) for test, paths in HOLDS.items() if not paths]


def test_what_is_held_exists():
    assert not [
        f"{test.relative_to(ROOT)}: {path}"
        for test, paths in HOLDS.items()
        for path in paths
        if not places(path)
    ]


def test_every_module_is_held():
    held = {place for paths in HOLDS.values() for path in paths for place in places(path)}
    unproved = (ROOT / "docs/unproved.md").read_text()
    alone = sorted(path.relative_to(ROOT).as_posix() for path in modules() - held)
    assert not [path for path in alone if f"`{path}`" not in unproved]


def test_no_folder_of_tests_is_crowded():
    counts = Counter(test.parent.relative_to(ROOT).as_posix() for test in TESTS)
    assert not {folder: n for folder, n in counts.items() if n > MOST_FILES}
