"""`python -m e2e.clusters`: up, down, images, dns, status. `make` calls these."""

import argparse
import json
import signal
import sys
from types import FrameType

from e2e.clusters import choice, images
from e2e.clusters import up as cluster
from e2e.clusters.places import CLUSTER_JSON
from e2e.clusters.port import Provider
from e2e.clusters.say import TroubleError, say


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m e2e.clusters", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="a cluster with the chart installed")
    up.add_argument("--without-chart", action="store_true", help="the cluster alone")
    commands.add_parser("down", help="remove all that up made")
    build = commands.add_parser("images", help="build images and load them where a cluster runs")
    build.add_argument("names", nargs="*", help="all when none is named")
    commands.add_parser("dns", help="wait until pods can look each other up by name")
    commands.add_parser("status", help="what runs here")
    later = commands.add_parser("later", help="build what the first answer does not need")
    later.add_argument("--without-images", action="store_true")
    return parser.parse_args()


def existing() -> str | None:
    """The kind of cluster that this clone has, from build/cluster.json."""
    try:
        return str(json.loads(CLUSTER_JSON.read_text())["provider"])
    except (OSError, ValueError, KeyError):
        return None


def chosen(fresh: bool) -> Provider:
    """The cluster this clone has, when it has one and nothing else is asked for."""
    if not fresh and (kind := existing()):
        return choice.provider(kind)
    decided = choice.choose()
    say(f"cluster: {decided.kind} ({decided.reason})")
    return choice.provider(decided.kind)


def build_images(names: list[str]) -> None:
    provider = chosen(fresh=False)
    provider.check()
    for name in names or [one.name for one in images.available()]:
        full = images.reference(name)
        if provider.running():
            cluster.ready(provider, name)
        else:
            cluster.built(provider, [name])
        print(full, flush=True)


def status() -> int:
    provider = chosen(fresh=False)
    running = provider.running()
    print(f"provider {provider.name}: {'running' if running else 'not running'}")
    if running:
        print(provider.kubectl()("get", "nodes,pods", "--all-namespaces"), end="")
    return 0 if running else 1


def run(wanted: argparse.Namespace) -> int:
    match wanted.command:
        case "up":
            cluster.up(chosen(fresh=True), wanted.without_chart)
        case "down":
            cluster.down(chosen(fresh=False))
        case "images":
            build_images(wanted.names)
        case "dns":
            chosen(fresh=False).dns()
        case "later":
            cluster.later(chosen(fresh=False), wanted.without_images)
        case _:
            return status()
    return 0


def stopped(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    # Unwinds what is under way: builds end, locks and half-made archives go.
    signal.signal(signal.SIGTERM, stopped)
    try:
        return run(arguments())
    except TroubleError as error:
        print(f"\n{error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
