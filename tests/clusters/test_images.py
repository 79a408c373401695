"""An image's tag follows what goes in, and nothing else.

Holds: e2e/clusters/gobuild.py, e2e/clusters/images.py
"""

from pathlib import Path

import pytest

from e2e.clusters import gobuild, images
from e2e.clusters.images import Image


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(images, "ROOT", tmp_path)
    listed = {
        "big": Image("big", "big/Dockerfile", "big", ("big",), None),
        "small": Image("small", "big/small/Dockerfile", "big/small", ("big/small",), None),
    }
    monkeypatch.setattr(images, "IMAGES", listed)
    (tmp_path / "big/small").mkdir(parents=True)
    for path in ("big/Dockerfile", "big/code.py", "big/small/Dockerfile"):
        (tmp_path / path).write_text(path)
    return tmp_path


def tag(name: str) -> str:
    images.tag.cache_clear()
    return images.tag(name)


def test_a_changed_byte_changes_the_tag(tree: Path) -> None:
    before = tag("big")
    assert tag("big") == before
    (tree / "big/code.py").write_text("other")
    assert tag("big") != before


def test_a_mode_and_a_name_count_too(tree: Path) -> None:
    before = tag("big")
    (tree / "big/code.py").chmod(0o755)
    executable = tag("big")
    (tree / "big/code.py").rename(tree / "big/codes.py")
    assert len({before, executable, tag("big")}) == 3


def test_what_python_leaves_behind_does_not_count(tree: Path) -> None:
    before = tag("big")
    (tree / "big/__pycache__").mkdir()
    (tree / "big/__pycache__/code.pyc").write_text("x")
    assert tag("big") == before


def test_an_image_within_anothers_directory_changes_alone(tree: Path) -> None:
    big, small = tag("big"), tag("small")
    (tree / "big/small/Dockerfile").write_text("other")
    assert tag("big") == big
    assert tag("small") != small


def test_images_of_one_context_share_what_both_name_and_nothing_else(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, nested = tree / "big/shared", Image("n", "big/a/n/Dockerfile", "big/a/n", (), None)
    listed = {name: Image(name, f"big/{name}/Dockerfile", "big", ("big/shared", f"big/{name}"), None)
              for name in ("a", "b")}  # fmt: skip
    monkeypatch.setattr(images, "IMAGES", listed | {"n": nested})
    for place in (shared, tree / "big/a/n", tree / "big/b"):
        place.mkdir(parents=True)
    for path in ("shared/code.py", "a/Dockerfile", "a/n/Dockerfile", "b/Dockerfile", "b/code.py"):
        (tree / "big" / path).write_text(path)
    first = tag("a"), tag("b")
    (shared / "code.py").write_text("other")
    second = tag("a"), tag("b")
    assert first[0] != second[0]
    assert first[1] != second[1]
    (tree / "big/b/code.py").write_text("other")
    (tree / "big/a/n/Dockerfile").write_text("other")
    assert tag("a") == second[0]
    assert tag("b") != second[1]


def test_both_workloads_are_built_anew_when_what_they_share_changes() -> None:
    shared = images.ROOT / "workloads/common/preamar_storage/attempts.py"
    assert [one.name for one in images.IMAGES.values() if shared in images.files(one)] == [
        "triton",
        "deepspeed",
    ]


def test_a_reference_carries_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "tag", lambda name: "0123")
    monkeypatch.delenv("PREAMAR_REGISTRY", raising=False)
    assert images.reference("operator") == "localhost/preamar/operator:0123"
    monkeypatch.setenv("PREAMAR_REGISTRY", "registry.example.com/team/")
    assert images.reference("operator") == "registry.example.com/team/operator:0123"


def test_the_cache_keeps_the_last_few_builds(tmp_path: Path) -> None:
    import os

    for age in range(6):
        (tmp_path / f"build{age}").mkdir()
        os.utime(tmp_path / f"build{age}", (1000 - age, 1000 - age))
    gobuild.prune(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"build0", "build1", "build2"}


def test_a_go_build_is_known_by_its_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gobuild, "go", lambda: ("go", "go1.25"))
    (tmp_path / "main.go").write_text("package main")
    before = gobuild.key("flags", sources=tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    assert gobuild.key("flags", sources=tmp_path) == before
    (tmp_path / "main.go").write_text("package main // changed")
    assert gobuild.key("flags", sources=tmp_path) != before
