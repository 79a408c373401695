"""What is an operator told when it starts? Where it listens, what it watches, which images it uses."""

from dataclasses import dataclass, field
from pathlib import Path

from preamar.core.settings import Settings
from preamar.protocol import ports


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line and the environment say. Empty ``namespaces`` means all. No flag sets
    ``agent_port`` and ``metrics_port``, where pods are asked: pods are made with these ports alone, and
    others are for tests that play the pods."""

    settings: Settings = field(default_factory=Settings)
    kubeconfig: str | None = None
    namespaces: tuple[str, ...] = ()
    lease_namespace: str = "preamar-system"
    identity: str = ""
    secrets: Path = Path("/etc/preamar/secrets")
    host: str = "0.0.0.0"  # noqa: S104  # probes and reports come from other pods
    probe_port: int = ports.PROBES
    demand_port: int = ports.DEMAND
    agent_port: int = ports.AGENT
    metrics_port: int = ports.MODEL_METRICS
    workers: int = 16
