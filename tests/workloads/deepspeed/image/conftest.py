"""The image as built by `make test-deepspeed`, mounted; jobs that run in it.

They are marked `image`, which the quick rings leave out: `make test-deepspeed` runs them.
"""

import json
import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.clusters import buildah, images
from tests.workloads.deepspeed.image.pod import Pod
from tests.workloads.deepspeed.orders import order

# Small enough to start and train in seconds, large enough to learn.
TINY = {"layers": 2, "hidden": 64, "heads": 4, "kvHeads": 2, "intermediate": 160, "sequence": 64}
TINY |= {"vocabulary": 512, "warmupSteps": 4, "learningRate": "0.01"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("image")


@pytest.fixture(scope="session")
def image() -> Iterator[tuple[Path, list[str]]]:
    """Where the image's files are, and its environment."""
    name = images.ensure("deepspeed")
    container = buildah.run("from", "--pull-never", name, timeout=120).strip()
    try:
        config = json.loads(buildah.run("inspect", container, timeout=60))
        root = Path(buildah.run("mount", container, timeout=60).strip())
        yield root, config["OCIv1"]["config"]["Env"]
    finally:
        buildah.run("rm", container, timeout=60)


class Job:
    """Volumes, and attempts of pods that share them."""

    def __init__(self, image: tuple[Path, list[str]], folder: Path) -> None:
        self.root, self.env = image
        self.folder = folder
        self.pods: list[Pod] = []
        self.limits: dict[str, Any] = {}  # of its pods: shm, cgroup
        for name in ("data/licences", "checkpoint", "export"):
            (folder / name).mkdir(parents=True)
        for file in (self.root / "usr/share/common-licenses").iterdir():
            if not file.is_symlink():
                shutil.copy(file, folder / f"data/licences/{file.name}.txt")
        for path in (folder, *folder.rglob("*")):
            os.chown(path, 1000, 1000)

    def start(
        self, pods: int = 2, ranks: int = 1, env: dict[str, str] | None = None, **changes: Any
    ) -> list[Pod]:
        world = pods * ranks
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        words = order(
            model__parameters=TINY,
            batch={"global": 16, "micro": 16 // world, "accumulation": 1},
            data__sources=[{"name": "licences", "path": "/mnt/data/licences", "weight": "1"}],
            checkpoint__everySteps=8,
            steps=24,
            precision="FP32",
            export=None,
        )
        for key, value in changes.items():
            *path, last = key.split("__")
            place = words
            for step in path:
                place = place[step]
            place[last] = value
        self.pods = [
            Pod(
                self.root,
                self.env,
                self.folder,
                {
                    "WORLD_SIZE": str(world),
                    "RANKS_PER_WORKER": str(ranks),
                    "JOB_COMPLETION_INDEX": str(index),
                    "MASTER_ADDR": "127.0.0.1",
                    "MASTER_PORT": str(port),
                    "PREAMAR_AGENT_PORT": "0",
                    "PREAMAR_GANG_SECONDS": "60",
                    "OMP_NUM_THREADS": "1",
                    "GLOO_SOCKET_IFNAME": "lo",
                    "PREAMAR_TRACE": "/mnt/export",
                    "PREAMAR_TRAIN": json.dumps(words),
                    **(env or {}),
                },
                **self.limits,
            )
            for index in range(pods)
        ]
        return self.pods

    def run(self, **changes: Any) -> tuple[int, dict[str, Any], str]:
        """A whole attempt: exit code and message of rank 0's pod, and its log."""
        pods = self.start(**changes)
        try:
            ends = [pod.end() for pod in pods]
        finally:
            for pod in pods:
                pod.kill()
        return (*ends[0], pods[0].text())

    def samples(self) -> dict[int, list[tuple[int, str]]]:
        """What was last seen in each step: numbers and hashes of samples, over all ranks and
        their micro batches, each known by its file and its first sample."""
        found: dict[int, dict[tuple[str, int], list[tuple[int, str]]]] = {}
        for file in (self.folder / "export").glob("rank-*.jsonl"):
            for line in file.read_text().splitlines():
                words = json.loads(line)
                seen = list(zip(words["samples"], words["hashes"], strict=True))
                found.setdefault(words["step"], {})[file.name, seen[0][0]] = seen
        return {
            step: sorted(each for seen in ranks.values() for each in seen)
            for step, ranks in found.items()
        }


def losses(log: str) -> dict[int, float]:
    return {int(s): float(x) for s, x in re.findall(r"step=(\d+) loss=(\S+) ", log)}


def weights(log: str) -> str:
    return re.search(r"all \d+ ranks hold equal weights: (\w+)", log).group(1)


@pytest.fixture
def job(image, tmp_path) -> Iterator[Job]:
    made = Job(image, tmp_path / "job")
    yield made
    for pod in made.pods:
        pod.kill()


@pytest.fixture(scope="session")
def unbroken(image, tmp_path_factory) -> tuple[Job, dict[str, Any], str]:
    """One run of 24 steps that nothing disturbs, with an export: the reference."""
    made = Job(image, tmp_path_factory.mktemp("unbroken") / "job")
    code, message, log = made.run(export={"path": "/mnt/export/gpt", "uri": "pvc://models/gpt"})
    assert code == 0, log[-3000:]
    return made, message, log
