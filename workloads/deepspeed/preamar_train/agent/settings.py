"""What the agent was told by environment, checked once."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from preamar_train.agent.hang import FLOOR_SECONDS
from preamar_train.reports import rank_state as state
from preamar_train.request import bad

RANK_COMMAND = ("preamar-train", "rank")


@dataclass(frozen=True, slots=True)
class Settings:
    world_size: int
    ranks: int  # in this pod
    index: int  # of this pod
    master: str
    port: int
    agent_port: int  # 0: none
    gang_seconds: float
    grace_seconds: float
    hang_seconds: float  # a rank may stand still at least so long
    stop_digest: str  # SHA-256 of the token that may stop the job; empty: nobody may
    command: tuple[str, ...]
    message: Path
    state: Path

    @property
    def first_rank(self) -> int:
        return self.index * self.ranks


def settings(env: Mapping[str, str]) -> Settings:
    result = Settings(
        world_size=_whole(env, "WORLD_SIZE", 1),
        ranks=_whole(env, "RANKS_PER_WORKER", 1, "1"),
        index=_whole(env, "JOB_COMPLETION_INDEX", 0),
        master=env.get("MASTER_ADDR", ""),
        port=_whole(env, "MASTER_PORT", 1, "29500"),
        agent_port=_whole(env, "PREAMAR_AGENT_PORT", 0, "29400"),
        gang_seconds=_seconds(env, "PREAMAR_GANG_SECONDS", "600"),
        grace_seconds=_seconds(env, "PREAMAR_GRACE_SECONDS", "600"),
        hang_seconds=_seconds(env, "PREAMAR_HANG_SECONDS", str(FLOOR_SECONDS)),
        stop_digest=env.get("PREAMAR_STOP_SHA256", ""),
        command=_command(env),
        message=message_path(env),
        state=state.directory(),
    )
    if not result.master:
        raise bad("MASTER_ADDR is not set")
    if result.first_rank + result.ranks > result.world_size:
        raise bad(
            f"pod {result.index} with {result.ranks} ranks does not fit into WORLD_SIZE {result.world_size}"
        )
    return result


def message_path(env: Mapping[str, str]) -> Path:
    return Path(env.get("PREAMAR_TERMINATION_LOG", "/dev/termination-log"))


def accelerator(env: Mapping[str, str]) -> str:
    """What DeepSpeed shall use: as told, else CUDA where a device is."""
    devices = (Path("/dev/nvidiactl"), Path("/dev/dxg"))
    return env.get("DS_ACCELERATOR") or (
        "cuda" if any(each.exists() for each in devices) else "cpu"
    )


def _command(env: Mapping[str, str]) -> tuple[str, ...]:
    """The program of a rank; PREAMAR_RANK_COMMAND, a JSON list, runs another."""
    text = env.get("PREAMAR_RANK_COMMAND")
    if not text:
        return RANK_COMMAND
    try:
        words = json.loads(text)
    except ValueError:
        words = None
    if not isinstance(words, list) or not words or not all(isinstance(w, str) for w in words):
        raise bad("PREAMAR_RANK_COMMAND is not a JSON list of words")
    return tuple(words)


def _whole(env: Mapping[str, str], name: str, least: int, default: str = "") -> int:
    text = env.get(name, default)
    if not text.isdecimal() or int(text) < least:
        raise bad(f"{name} must be a whole number of at least {least}, not {text!r}")
    return int(text)


def _seconds(env: Mapping[str, str], name: str, default: str) -> float:
    try:
        value = float(env.get(name, default))
    except ValueError:
        value = 0.0
    if not 0 < value < 10**6:
        raise bad(f"{name} must be a number of seconds above 0, not {env.get(name)!r}")
    return value


def rank_environment(config: Settings, local: int, address: str) -> dict[str, str]:
    return {
        **os.environ,
        "RANK": str(config.first_rank + local),
        "LOCAL_RANK": str(local),
        "LOCAL_SIZE": str(config.ranks),
        "LOCAL_WORLD_SIZE": str(config.ranks),
        "WORLD_SIZE": str(config.world_size),
        "MASTER_ADDR": address,
        "MASTER_PORT": str(config.port),
        "DS_ACCELERATOR": accelerator(os.environ),
        "PREAMAR_STATE": str(config.state),
        "PYTHONUNBUFFERED": "1",
    }
