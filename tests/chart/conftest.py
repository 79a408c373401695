"""The chart, rendered by Helm 4's own library."""

import pickle
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.api.judges import Server
from tests.apiserver import kubeconfig

__all__ = ["kubeconfig", "render", "server"]
CHART = Path(__file__).resolve().parents[2] / "charts/preamar"


@pytest.fixture(scope="session")
def render():
    """Renders with values to manifests, in the order of the files."""
    from helm_python import Chart

    chart = Chart.load(str(CHART))

    def rendered(values=None, notes=False):
        files = chart.render(values or {}, name="preamar", namespace="preamar-system")
        if notes:
            return next(text for path, text in files.items() if path.endswith("NOTES.txt"))
        texts = [text for path, text in files.items() if path.endswith(".yaml")]
        return [manifest for text in texts for manifest in pickle.loads(_read(text))]

    return rendered


@cache
def _read(text: str) -> bytes:
    """The manifests of a file, each text read once: the CRDs are a hundred kilobytes each, and the
    same whatever the values. Packed, so that each test gets objects of its own."""
    return pickle.dumps([each for each in yaml.load_all(text, yaml.CSafeLoader) if each])


@pytest.fixture(scope="session")
def server(kubeconfig):
    return Server(kubeconfig)
