"""The copier of the demo's models: whole copies only, safe to run again, nothing thrown away.

Holds: workloads/triton/demo/demo-models
"""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "workloads/triton/demo/demo-models"


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models/tiny/sub"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("one")
    (folder.parent / "b.bin").write_bytes(b"\0" * 1000)
    command = "find . -type f | LC_ALL=C sort | xargs sha256sum > ../tiny.sha256"
    subprocess.run(["sh", "-c", command], cwd=folder.parent, check=True)
    return tmp_path / "models"


def copy(models: Path, *arguments: str) -> subprocess.CompletedProcess:
    env = os.environ | {"DEMO_MODELS": str(models)}
    return subprocess.run(
        [SCRIPT, *arguments], env=env, capture_output=True, text=True, check=False, timeout=20
    )


def test_a_copy_is_whole_and_made_once(models, tmp_path):
    target = tmp_path / "volume/models/tiny"
    assert copy(models, "tiny", str(target)).returncode == 0
    assert (target / "sub/a.txt").read_text() == "one"
    before = (target / "b.bin").stat().st_ino
    again = copy(models, "tiny", str(target))
    assert "already" in again.stdout
    assert (target / "b.bin").stat().st_ino == before


def test_a_damaged_copy_is_made_again_and_kept_aside(models, tmp_path):
    target = tmp_path / "volume/tiny"
    copy(models, "tiny", str(target))
    (target / "b.bin").write_bytes(b"damaged")
    assert copy(models, "tiny", str(target)).returncode == 0
    assert (target / "b.bin").read_bytes() == b"\0" * 1000
    assert len(list(target.parent.glob("tiny.old-*"))) == 1
    assert not list(target.parent.glob("*.part-*"))


def test_an_unknown_name_lists_the_known(models, tmp_path):
    done = copy(models, "gone", str(tmp_path / "x"))
    assert done.returncode == 2
    assert "tiny" in done.stderr
