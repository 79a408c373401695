"""A real API server with our CRDs, once per run."""

from pathlib import Path

import pytest
import yaml

from tests.api.judges import Server
from tests.apiserver import kubeconfig

__all__ = ["crds", "kubeconfig", "server"]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def crds() -> dict[str, dict]:
    """The CRDs as committed, by kind."""
    found = [yaml.safe_load(p.read_text()) for p in sorted((ROOT / "crds").glob("*.yaml"))]
    return {manifest["spec"]["names"]["kind"]: manifest for manifest in found}


@pytest.fixture(scope="session")
def server(kubeconfig, crds) -> Server:
    """Knows our kinds: every CRD is applied and established."""
    made = Server(kubeconfig)
    made.install(crds.values())
    return made
