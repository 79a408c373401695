"""The sweep of `make faults-training` itself: a few of its points, and one bug that it must find.

Holds: e2e/faults/
"""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.image]
ROOT = Path(__file__).resolve().parents[4]


def sweep(*more):
    words = [sys.executable, "-m", "e2e.faults.checkpoints", "--shard", "1/40", *more]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)


def test_killed_ranks_go_on_from_a_whole_checkpoint():
    done = sweep()
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert done.stdout.count("passed") >= 4
