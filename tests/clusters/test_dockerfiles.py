"""Do the Dockerfiles copy what decides an image's tag, and code last, so that all below it is kept?

Holds: e2e/clusters/images.py
"""

import re
from pathlib import Path

import pytest

from e2e.clusters import images
from e2e.clusters.images import Image

ROOT = Path(__file__).resolve().parents[2]
OTHERS = {
    str(path.relative_to(ROOT)): "workloads"
    for path in sorted((ROOT / "workloads").glob("*/*.Dockerfile"))
}
CONTEXTS = {one.dockerfile: one.context for one in images.available()} | OTHERS
INSTALLS = re.compile(r"\b(apt-get|pip|uv)\b")


def stages(text: str) -> list[list[str]]:
    """The instructions of each stage, without comments, each on one line."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    instructions = "\n".join(lines).replace("\\\n", " ").splitlines()
    found: list[list[str]] = []
    for each in instructions:
        if each.startswith("FROM "):
            found.append([])
        if found:
            found[-1].append(each)
    return found


def copied(instruction: str) -> list[str]:
    """What an instruction copies from the context."""
    words = instruction.split()
    return words[1:-1] if words[0] == "COPY" and not words[1].startswith("--from") else []


def folders_too_early(text: str, context: Path) -> list[str]:
    """Copies of whole folders, thus of code, with something heavy after them in the image."""
    wrong = []
    *before, last = stages(text)
    for stage in before:
        wrong += [each for each in stage if any((context / s).is_dir() for s in copied(each))]
    code: list[str] = []
    for each in last:
        if any((context / source).is_dir() for source in copied(each)):
            code.append(each)
        elif each.startswith("COPY --from") or (each.startswith("RUN") and INSTALLS.search(each)):
            wrong, code = wrong + code, []
    return wrong


@pytest.mark.parametrize("dockerfile", CONTEXTS)
def test_all_that_is_copied_lies_in_the_context(dockerfile: str) -> None:
    context = ROOT / CONTEXTS[dockerfile]
    found = [
        source
        for stage in stages((ROOT / dockerfile).read_text())
        for each in stage
        for source in copied(each)
    ]
    assert found
    assert not [source for source in found if not (context / source).exists()]


@pytest.mark.parametrize("image", images.available(), ids=lambda image: image.name)
def test_all_that_is_copied_decides_the_tag(image: Image) -> None:
    counted = set(images.files(image))
    for stage in stages((ROOT / image.dockerfile).read_text()):
        for each in stage:
            for source in copied(each):
                path = ROOT / image.context / source
                inside = path.rglob("*") if path.is_dir() else [path]
                files = {f for f in inside if f.is_file() and not images.IGNORED & set(f.parts)}
                assert files
                assert files <= counted, each


@pytest.mark.parametrize("dockerfile", CONTEXTS)
def test_nothing_heavy_is_made_anew_when_code_changes(dockerfile: str) -> None:
    text = (ROOT / dockerfile).read_text()
    assert not folders_too_early(text, ROOT / CONTEXTS[dockerfile])


def test_code_below_packages_and_code_in_another_stage_are_found(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "requirements.txt").touch()
    fine = "FROM a AS b\nCOPY requirements.txt /\nRUN pip install x\n"
    fine += "FROM a\nCOPY --from=b /x /x\nRUN apt-get \\\n  update\nCOPY code /code\nRUN compile\n"
    assert not folders_too_early(fine, tmp_path)
    late = fine + "# again\nRUN x \\\n && pip install y\n"
    assert folders_too_early(late, tmp_path) == ["COPY code /code"]
    later = fine + "COPY --from=b /y /y\n"
    assert folders_too_early(later, tmp_path) == ["COPY code /code"]
    elsewhere = fine.replace("FROM a\n", "COPY code /c\nFROM a\n")
    assert folders_too_early(elsewhere, tmp_path) == ["COPY code /c"]


@pytest.mark.parametrize("context", [".", "workloads"])
def test_what_does_not_decide_the_tag_is_not_copied_either(context: str) -> None:
    patterns = (ROOT / context / ".dockerignore").read_text().splitlines()
    assert {f"**/{name}" for name in images.IGNORED} <= set(patterns)
