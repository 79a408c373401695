"""How this gateway was told to run: flags, else environment (``PREAMAR_`` and the flag's name in
capitals), else defaults; and its three secrets, which come from files and nowhere else.
"""

import argparse
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from preamar import __version__
from preamar.protocol import ports


class Unset(Exception):
    """Something without which a gateway cannot run; the sentence says what to do."""


class Secrets(NamedTuple):
    admin_key: bytes
    internal_key: bytes
    pepper: bytes


class Flag(NamedTuple):
    name: str
    default: Any
    help: str


FLAGS = (
    Flag("host", "0.0.0.0", "address to listen on"),  # noqa: S104
    Flag("port", ports.GATEWAY_HTTP, "port of the data API"),
    Flag("admin-port", 8081, "port of the admin API"),
    Flag("grpc-port", 8082, "port of KServe v2 gRPC; -1 for none"),
    Flag("secrets-dir", "/etc/preamar/secrets", "folder with admin-key, internal-key and pepper"),
    Flag("ledger", "/var/lib/preamar/ledger.sqlite", "file of the ledger"),
    Flag("ledger-url-file", "", "file with a postgresql:// URL; then --ledger is a spool for it"),
    Flag("keep-days", 400, "days that request rows are kept"),
    Flag("snapshot", "/var/lib/preamar/snapshot.json", "file with models and replicas last known"),
    Flag("kubeconfig", "", "kubeconfig; default: the pod's own account"),
    Flag("namespace", "", "namespace of the operator; default: the pod's own"),
    Flag("watch-namespace", "", "namespace whose models are served; default: all"),
    Flag("operator-service", "preamar-operator", "Service that demand is reported to"),
    Flag("name", "", "name of this gateway; default: the host's name"),
    Flag("max-body", 8 << 20, "largest request under /v1, in bytes"),
    Flag("max-tensor-body", 64 << 20, "largest request under /v2, in bytes"),
    Flag("body-memory", 512 << 20, "bytes of request bodies held at once"),
    Flag("max-connections", 8192, "connections at once per port"),
    Flag("read-seconds", 60.0, "time for a request's body to arrive"),
    Flag("answer-seconds", 600.0, "time for a model to begin its answer"),
    Flag("stall-seconds", 300.0, "longest silence within a model's stream"),
    Flag("reconcile-seconds", 3600.0, "time between comparisons with the model servers' counts"),
    Flag("keep-alive-seconds", 10.0, "time between comments on a silent stream"),
    Flag("propagation-seconds", 5.0, "time to serve on after SIGTERM, until all know"),
    Flag("grace-seconds", 300.0, "time for requests under way to end after that"),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """One field per flag; see ``FLAGS``."""

    host: str
    port: int
    admin_port: int
    grpc_port: int
    secrets_dir: Path
    ledger: Path
    ledger_url_file: str
    keep_days: int
    snapshot: Path
    kubeconfig: str
    namespace: str
    watch_namespace: str
    operator_service: str
    name: str
    max_body: int
    max_tensor_body: int
    body_memory: int
    max_connections: int
    read_seconds: float
    answer_seconds: float
    stall_seconds: float
    reconcile_seconds: float
    keep_alive_seconds: float
    propagation_seconds: float
    grace_seconds: float
    no_cluster: bool


def settings_of(argv: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """Exits with 2 and a sentence on wrong flags, as argparse does."""
    parser = argparse.ArgumentParser(
        prog="preamar gateway",
        description="The API in front of all models. Each flag can also be set as PREAMAR_<FLAG>.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument(
        "--no-cluster",
        action="store_true",
        default=environment.get("PREAMAR_NO_CLUSTER", "") in {"1", "true"},
        help="serve what the snapshot file names, and follow that file instead of a cluster",
    )
    for flag in FLAGS:
        variable = "PREAMAR_" + flag.name.upper().replace("-", "_")
        parser.add_argument(
            f"--{flag.name}",
            # Text given by the environment is converted like text given as a flag.
            default=environment.get(variable, str(flag.default)),
            type=type(flag.default),
            help=f"{flag.help} (default {flag.default or 'none'})",
        )
    given = vars(parser.parse_args(list(argv)))
    # Where a gateway runs is where its operator runs, unless it was told otherwise.
    if not given["namespace"]:
        given["namespace"] = environment.get("POD_NAMESPACE") or "preamar-system"
    given["name"] = given["name"] or environment.get("POD_NAME", "") or socket.gethostname()
    for path in ("secrets_dir", "ledger", "snapshot"):
        given[path] = Path(given[path])
    return Settings(**given)


def read_url(path: str) -> str:
    """The database's URL. Raises ``Unset`` with a sentence that names the file."""
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Unset(f"The ledger's URL cannot be read from {path}: {error}.") from error


def read_secrets(folder: Path) -> Secrets:
    """Raises ``Unset`` with a sentence that names the file."""
    found = []
    for name in ("admin-key", "internal-key", "pepper"):
        path = folder / name
        try:
            value = path.read_bytes().strip()
        except OSError as error:
            raise Unset(
                f"The secret {path} cannot be read ({error.strerror}). Make the Secret that "
                "gateway.adminSecretName names, with the keys admin-key, internal-key and pepper."
            ) from error
        if len(value) < 16:
            raise Unset(f"The secret {path} is shorter than 16 bytes. Put a random one there.")
        found.append(value)
    return Secrets(*found)


UNBOUNDED_TOKENS = 1024
"""Output tokens that a request for text is expected to make at most while nobody has said."""
