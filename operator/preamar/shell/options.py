"""What is an operator told when it starts? Where it listens, what it watches, which images it uses."""

from dataclasses import dataclass, field
from pathlib import Path

from preamar.core.settings import Settings
from preamar.demand.witness import METRICS_PORT
from preamar.shell.polling.progress import AGENT_PORT


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line and the environment say. Empty ``namespaces`` means all."""

    settings: Settings = field(default_factory=Settings)
    kubeconfig: str | None = None
    namespaces: tuple[str, ...] = ()
    lease_namespace: str = "preamar-system"
    identity: str = ""
    secrets: Path = Path("/etc/preamar/secrets")
    host: str = "0.0.0.0"  # noqa: S104  # probes and reports come from other pods
    probe_port: int = 8090
    demand_port: int = 8091
    agent_port: int = AGENT_PORT
    metrics_port: int = METRICS_PORT
    workers: int = 16
