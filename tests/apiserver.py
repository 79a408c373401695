"""A real API server for the tests that need one, once per run.

PREAMAR_TEST_KUBECONFIG names one that runs already, which is quicker while working.
"""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def kubeconfig() -> Iterator[str]:
    if at_hand := os.environ.get("PREAMAR_TEST_KUBECONFIG"):
        yield at_hand
        return
    from e2e.clusters.bare import api_server

    with api_server() as path:
        yield str(path)
