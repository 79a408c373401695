"""The cluster that `make up` brought up, as its callers see it."""

import json
from dataclasses import dataclass
from pathlib import Path

CLUSTER_JSON = Path(__file__).resolve().parents[1] / "build/cluster.json"


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where the cluster is and what opens it. Keys are read when asked for, never printed."""

    kubeconfig: str
    gateway_url: str
    grpc_url: str
    admin_url: str
    admin_key_file: str
    key_file: str
    provider: str
    audit_log: str = ""  # JSON lines; empty where the API server's log cannot be read

    def key(self) -> str:
        """A data-plane key of tenant ``demo``."""
        return Path(self.key_file).read_text().strip()

    def admin_key(self) -> str:
        return Path(self.admin_key_file).read_text().strip()


def read(path: Path = CLUSTER_JSON) -> Cluster:
    """``FileNotFoundError`` with what to do when there is no cluster."""
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there: run `make up` first")
    return Cluster(**json.loads(path.read_text()))
