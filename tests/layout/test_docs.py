"""Can a stranger find each page? Links lead somewhere, and every page stands in its index.

Holds: docs/
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [*DOCS.rglob("*.md"), *(ROOT / f"{n}.md" for n in ("README", "CONTRIBUTING", "CHANGELOG"))]


def links(page):
    """Where the links of a page lead on this disk."""
    found = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    return {(page.parent / each).resolve() for each in found if "://" not in each}


def test_every_link_leads_to_a_file():
    dead = {str(p.relative_to(ROOT)): [str(each) for each in links(p) if not each.exists()] for p in PAGES}  # fmt: skip
    assert not {page: found for page, found in dead.items() if found}


def test_every_guide_figure_and_reference_is_in_the_index_of_all_pages():
    shown = links(DOCS / "README.md")
    pages = {p for room in ("guides", "measured", "reference") for p in (DOCS / room).glob("*.md")}
    assert not {p.name for p in pages if p not in shown}


def test_every_decision_and_every_page_of_the_inside_is_in_its_index():
    for room in ("adr", "internals"):
        index = DOCS / room / "README.md"
        assert not {p.name for p in (DOCS / room).glob("*.md") if p not in {*links(index), index}}


def test_the_readme_shows_the_way_in_at_most_twelve_rows():
    table = (ROOT / "README.md").read_text().partition("| I want to … | page |")[2]
    rows = re.match(r"\n\|[-|]+\|\n((?:\|.*\|\n)*)", table)
    assert rows
    assert 0 < rows[1].count("\n") <= 12
    assert DOCS / "README.md" in links(ROOT / "README.md")


WAY_IN = ROOT / "CONTRIBUTING.md"
PATH = re.compile(r"`((?:operator|tests|workloads|charts|docs|e2e|crds)/[^`\s]*)`")


def test_every_path_that_contributors_are_sent_to_is_there():
    named = PATH.findall(WAY_IN.read_text())
    assert len(named) > 40
    assert not [path for path in named if not (ROOT / path).exists()]


def test_every_name_that_contributors_are_sent_to_is_there():
    """A name in code style beside paths in the same step stands in one of those files."""

    def lost(step):
        files = [ROOT / path for path in PATH.findall(step) if (ROOT / path).is_file()]
        names = re.findall(r"`([A-Z][A-Za-z_]+|[a-z]+_[a-z_]+)`", step) if files else ()
        text = "\n".join(file.read_text() for file in files)
        return [name for name in names if not re.search(rf"\b{name}\b", text)]

    steps = WAY_IN.read_text().partition("## How to add")[2].partition("\n## ")[0].splitlines()
    assert not [name for step in steps for name in lost(step)]
    assert lost("`NoSuchRow` in `operator/preamar/protocol/engines.py`") == ["NoSuchRow"]


def test_the_way_in_is_read_at_a_glance():
    """And its table of rooms is the tree's."""
    text = WAY_IN.read_text()
    assert text.count("\n") < 120
    rows = set(re.findall(r"^\| `operator/preamar/(\w+)` \|", text, re.MULTILINE))
    folders = {p.parent.name for p in (ROOT / "operator/preamar").glob("*/__init__.py")}
    assert rows == folders
