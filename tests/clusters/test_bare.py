"""The bare API server is real, ends with its block, and with the process that asked for it.

Holds: e2e/clusters/bare.py, e2e/clusters/controlplane.py
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from e2e.clusters import gobuild
from e2e.clusters.bare import api_server
from tests.clusters.test_run import alive

pytestmark = pytest.mark.apiserver
ROOT = Path(__file__).resolve().parents[2]


def kubectl(kubeconfig: Path, *arguments: str) -> str:
    argv = [str(gobuild.kube()), "kubectl", f"--kubeconfig={kubeconfig}", *arguments]
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout


def test_it_answers_keeps_an_audit_log_and_leaves_nothing(tmp_path: Path) -> None:
    audit = tmp_path / "audit.log"
    with api_server(audit_log=audit) as kubeconfig:
        kubectl(kubeconfig, "create", "configmap", "made", "--from-literal=a=1")
        assert "made" in kubectl(kubeconfig, "get", "configmap", "--output=name")
        home = kubeconfig.parent
    assert not home.exists()
    events = [json.loads(line) for line in audit.read_text().splitlines()]
    assert any(
        one["verb"] == "create" and one["objectRef"]["name"] == "made"
        for one in events
        if "objectRef" in one
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_the_process_that_started_it(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "e2e.clusters.bare"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    kubeconfig = process.stdout.readline()
    assert "KUBECONFIG=" in kubeconfig
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 2
    os.kill(process.pid, number)
    process.wait(20)
    deadline = time.monotonic() + 60
    while any(alive(int(child)) for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(int(child)) for child in children)
