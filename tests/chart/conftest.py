"""The chart, rendered by Helm 4's own library."""

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
        return [
            manifest
            for path, text in files.items()
            if path.endswith(".yaml")
            # In C: the CRDs alone are a hundred kilobytes each.
            for manifest in yaml.load_all(text, yaml.CSafeLoader)
            if manifest
        ]

    return rendered


@pytest.fixture(scope="session")
def server(kubeconfig):
    return Server(kubeconfig)
