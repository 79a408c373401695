"""How does a worker compute its part of a model that vLLM spans over pods? By vLLM's own server without
callers, with the same arguments as the engine of the leader.

The builder puts a `worker.py` that calls this beside the configuration, so a worker runs it as it runs the
program of a model's owner: while the leader holds it, and both end together.
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path


def main(folder: Path) -> None:
    """Become vLLM. ``folder`` holds model.json, the arguments that the builder wrote."""
    arguments = json.loads((folder / "model.json").read_text())
    command = [sys.executable, "-m", "vllm.entrypoints.cli.main", *flags(arguments, os.environ)]
    # In the place of this process: what ends the worker must reach vLLM itself.
    os.execv(command[0], command)


def place(environment: Mapping[str, str]) -> dict[str, object]:
    """Where a pod is among those of its group, in vLLM's words; the leader is told the same."""
    return {
        "node_rank": int(environment["NODE_RANK"]),
        "master_addr": environment["MASTER_ADDR"],
        "master_port": int(environment["MASTER_PORT"]),
    }


def flags(arguments: Mapping[str, object], environment: Mapping[str, str]) -> list[str]:
    """The engine's arguments as those of the command line."""
    rest = {name: value for name, value in arguments.items() if name != "model"}
    found = ["serve", str(arguments["model"]), "--headless"]
    for name, value in (rest | place(environment)).items():
        word = name.replace("_", "-")
        if isinstance(value, bool):
            found.append(f"--{word}" if value else f"--no-{word}")
        else:
            found += [f"--{word}", str(value)]
    return found
