"""The command ``preamar``: one image, and each process loads its own half only.

Every flag has an environment variable, which is what the chart sets; a flag wins. A mistake in
either is a sentence and exit code 2; what cannot run is a sentence and exit code 1.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from preamar import __version__
from preamar.protocol import ports

if TYPE_CHECKING:  # each process loads its own half only
    from preamar.core.capacity.hardware import HardwareCatalog

OPERATOR_HELP = "watch the resources and do what they say"
GATEWAY_HELP = "serve the models' callers"
QUOTE_HELP = "what a training job needs before it runs; needs no cluster"
LOOKS = {
    "logs": "what the ranks of a job say, or the replicas of a service",
    "plot": "the loss curve of a job",
    "status": "is it well, and if not why not",
    "top": "how far jobs are, and what services do",
}
SIMULATE_HELP = "replay a load with each way of sizing; needs no cluster"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the commands; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["gateway"]:
        # The gateway knows its own flags, and loads nothing of the operator.
        from preamar.gateway.server import run as run_gateway

        return _code(run_gateway(given[1:]))
    if given[:1] == ["simulate"]:
        from preamar.cli.simulate.command import run as run_simulate

        return run_simulate(given[1:])
    if given[:1] and given[0] in LOOKS:
        from importlib import import_module

        return _code(import_module(f"preamar.cli.look.{given[0]}").run(given[1:]))
    if given[:1] == ["quote"]:
        from preamar.cli.quote.command import run as run_quote

        return run_quote(given[1:])
    parser = argparse.ArgumentParser(
        prog="preamar", description="Elastic GPU inference and training on Kubernetes."
    )
    parser.add_argument("--version", action="version", version=f"preamar {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    operator = commands.add_parser(
        "operator", help=OPERATOR_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands.add_parser("gateway", help=GATEWAY_HELP, add_help=False)
    commands.add_parser("quote", help=QUOTE_HELP, add_help=False)
    for name, words in LOOKS.items():
        commands.add_parser(name, help=words, add_help=False)
    commands.add_parser("simulate", help=SIMULATE_HELP, add_help=False)
    _operator_flags(operator)
    return _run_operator(parser.parse_args(given))


def _operator_flags(parser: argparse.ArgumentParser) -> None:
    from preamar.protocol import engines, images

    def flag(name: str, variable: str, default: str, words: str) -> None:
        parser.add_argument(
            name,
            default=os.environ.get(variable, default),
            metavar="X",
            help=f"{words} [{variable}; default: {default or 'none'}]",
        )

    flag("--kubeconfig", "KUBECONFIG", "", "the way to the API server outside a pod")
    flag(
        "--namespaces", "PREAMAR_WATCH_NAMESPACE", "", "namespaces to watch, by comma; none for all"
    )
    flag(
        "--namespace",
        "PREAMAR_NAMESPACE",
        "preamar-system",
        "the operator's own, where its Lease is",
    )
    flag("--identity", "POD_NAME", "", "the name under which this replica holds the Lease")
    flag("--host", "PREAMAR_HOST", "0.0.0.0", "address to listen on")  # noqa: S104
    flag("--probe-port", "PREAMAR_PROBE_PORT", str(ports.PROBES), "port of probes and metrics")
    flag(
        "--demand-port",
        "PREAMAR_DEMAND_PORT",
        str(ports.DEMAND),
        "port of the gateways' demand reports",
    )
    flag("--workers", "PREAMAR_WORKERS", "16", "passes at once")
    flag("--secrets-dir", "PREAMAR_SECRETS_DIR", "/etc/preamar/secrets", "holds internal-key")
    flag("--log-level", "PREAMAR_LOG_LEVEL", "INFO", "DEBUG, INFO, WARNING or ERROR")
    for name in engines.images():
        default = images.default_of(name)
        flag(images.flag_of(name), images.variable_of(name), default, "image of these pods")
    flag("--image-pull-policy", "PREAMAR_IMAGE_PULL_POLICY", "IfNotPresent", "of all pods")
    flag(
        "--gateway-url",
        "PREAMAR_GATEWAY_URL",
        f"http://preamar-gateway.preamar-system.svc.cluster.local:{ports.GATEWAY_HTTP}",
        "what status.url says to users",
    )
    flag(
        "--node-local-storage-class",
        "PREAMAR_NODE_LOCAL_STORAGE_CLASS",
        "",
        "of volumes that training data is staged on; the cluster's default when empty",
    )
    flag(
        "--gang-seconds",
        "PREAMAR_GANG_SECONDS",
        "600",
        "how long some workers of an attempt may hold accelerators while others wait for theirs",
    )
    flag(
        "--model-cache-claim",
        "PREAMAR_MODEL_CACHE_CLAIM",
        "preamar-models",
        "the claim in a service's namespace that fetched models are kept on, where it exists",
    )
    flag("--model-cache-gib", "PREAMAR_MODEL_CACHE_GIB", "100", "what all of them may have, in GiB")
    flag(
        "--model-hosts",
        "PREAMAR_MODEL_HOSTS",
        "",
        "host or host:port, by comma, that models may come from although they are not public",
    )
    flag("--fleet", "PREAMAR_FLEET", "", "a table of prices and accelerators, as for preamar quote")
    flag("--cluster-domain", "PREAMAR_CLUSTER_DOMAIN", "cluster.local", "the cluster's DNS domain")
    flag(
        "--spot-notice-seconds",
        "PREAMAR_SPOT_NOTICE_SECONDS",
        "30",
        "how long before the cloud takes a spot machine it says so",
    )


def _run_operator(given: argparse.Namespace) -> int:
    import asyncio

    from preamar.cluster.connect import Unreachable
    from preamar.core.capacity.hardware import BadFleet
    from preamar.core.settings import Settings
    from preamar.protocol import engines, images
    from preamar.shell.options import Options
    from preamar.shell.startup import run

    logging.basicConfig(
        level=given.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("kopf").setLevel(max(logging.WARNING, logging.getLogger().level))
    try:
        options = Options(
            settings=Settings(
                images={name: getattr(given, images.key_of(name)) for name in engines.images()},
                image_pull_policy=given.image_pull_policy,
                cluster_domain=given.cluster_domain,
                gateway_url=given.gateway_url,
                node_local_storage_class=given.node_local_storage_class,
                gang_seconds=_seconds(given.gang_seconds),
                fleet=_fleet(given.fleet),
                model_cache_claim=given.model_cache_claim,
                model_cache_bytes=int(given.model_cache_gib) * 2**30,
                model_hosts=tuple(h.strip() for h in given.model_hosts.split(",") if h.strip()),
                spot_notice_seconds=int(given.spot_notice_seconds),
            ),
            kubeconfig=given.kubeconfig or None,
            namespaces=tuple(n for n in given.namespaces.split(",") if n),
            lease_namespace=given.namespace,
            identity=given.identity,
            secrets=Path(given.secrets_dir),
            host=given.host,
            probe_port=int(given.probe_port),
            demand_port=int(given.demand_port),
            workers=int(given.workers),
        )
    except BadFleet as error:
        sys.stderr.write(f"preamar: --fleet {given.fleet}: {error}\n")
        return 2
    except ValueError as error:
        sys.stderr.write(f"preamar: ports, workers and seconds are whole numbers: {error}\n")
        return 2
    try:
        return asyncio.run(run(options))
    except Unreachable as error:
        sys.stderr.write(f"preamar: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"preamar: {error}. Is another process using that port?\n")
        return 1


def _fleet(file: str) -> "HardwareCatalog":
    """The table of this installation. Raises ``BadFleet``."""
    import yaml

    from preamar.core.capacity.hardware import SHIPPED, BadFleet, read

    if not file:
        return SHIPPED
    try:
        return read(yaml.safe_load(Path(file).read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadFleet(f"cannot be read: {error}") from error


def _seconds(text: str) -> int:
    seconds = int(text)
    if not 1 <= seconds <= 86_400:
        raise ValueError(f"--gang-seconds {text} is not from 1 to 86400")
    return seconds


def _code(result: object) -> int:
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    sys.exit(main())
