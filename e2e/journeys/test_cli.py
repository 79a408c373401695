"""People look at a job from their own machine: how far it is, what ranks say, its curve, its quote."""

import json
import os
import subprocess
import sys
from pathlib import Path

from e2e import cluster
from e2e.journeys.watching import job, moving, succeeded
from e2e.journeys.wishes import a_job
from e2e.kube import Json, Kube, until


def preamar(namespace: str, *words: str) -> subprocess.CompletedProcess[str]:
    """The command as a person calls it, with the cluster's kubeconfig."""
    return subprocess.run(
        [sys.executable, "-m", "preamar.main", *words, "-n", namespace],
        env={**os.environ, "KUBECONFIG": cluster.read().kubeconfig, "PYTHONPATH": "operator"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_job_is_followed_from_outside(kube: Kube, namespace: str, tmp_path: Path) -> None:
    kube.apply(a_job("seen", steps=120), namespace)

    def trains() -> Json | None:
        status = (job(kube, namespace, "seen") or {}).get("status") or {}
        return status if (status.get("progress") or {}).get("step", 0) >= 5 else None

    status = until("it trains", 300, trains, every=1.0, progress=moving(kube, namespace))
    assert status["interconnect"] == {
        "expected": "TCP",
        "used": "TCP",
        "detail": status["interconnect"]["detail"],
    }
    assert status["interconnect"]["detail"].startswith("eth0 ")

    top = json.loads(preamar(namespace, "top", "-o", "json").stdout)
    assert "seen" in [each["name"] for each in top["training"]]
    plotted = preamar(namespace, "plot", "seen", "--out", str(tmp_path / "curve.png"))
    assert plotted.returncode == 0, plotted.stderr
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")

    quote = succeeded(kube, namespace, "seen")["status"]["quote"]
    assert quote["basis"] == "Measured"
    said = preamar(namespace, "status", "seen")
    assert (said.returncode, said.stdout.split(":")[:2]) == (0, ["seen", " Done"])
    logs = preamar(namespace, "logs", "seen", "--rank", "1").stdout.splitlines()
    assert logs
    assert not any(line.startswith("[rank 0]") for line in logs)
