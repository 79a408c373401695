"""Where a clone's cluster keeps its things, and what tells two clones apart.

Everything carries the instance's id, a short hash of the clone's real path: state that outlives a
reboot, sockets and process ids that do not. Caches are shared by all clones of a user. Nothing else is
written outside the clone.
"""

import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("PREAMAR_CACHE") or Path.home() / ".cache/preamar")
CLUSTER_JSON = ROOT / "build/cluster.json"
NAMESPACE = "preamar-system"
RELEASE = "preamar"
REGISTRY = "localhost/preamar"


def identity(clone: Path = ROOT) -> str:
    """The same for one real path for ever, different for two."""
    return sha256(os.path.realpath(clone).encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class Places:
    """The directories of one instance of a cluster on this machine."""

    id: str
    state: Path
    run: Path

    @staticmethod
    def of(name: str) -> "Places":
        return Places(name, Path("/var/lib/preamar") / name, Path("/run/preamar") / name)

    @property
    def bin(self) -> Path:
        return self.state / "bin"

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def etc(self) -> Path:
        return self.state / "etc"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def volumes(self) -> Path:
        return self.state / "volumes"

    @property
    def services(self) -> Path:
        return self.run / "services"

    @property
    def socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def audit_log(self) -> Path:
        return self.logs / "audit.log"

    @property
    def kubeconfig(self) -> Path:
        return self.etc / "admin.kubeconfig"
