"""``preamar logs``: what the ranks of a training job say, or the replicas of a service."""

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from typing import Any

from preamar.cli.look import common
from preamar.cluster.port import ClusterError
from preamar.cluster.reading import lines, listed
from preamar.core.pods import PodView
from preamar.core.training.attempts.endings import rank as index_of
from preamar.protocol.labels import ATTEMPT_LABEL, JOB_LABEL, SERVICE_LABEL

WAIT_SECONDS = 2.0


def run(arguments: Sequence[str]) -> int:
    """Run the command with the arguments after its name; returns the exit code."""
    parser = common.parser(
        "logs", "What the ranks of a TrainingJob say, or the replicas of an InferenceService."
    )
    parser.add_argument("name", help="of the TrainingJob or InferenceService")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as lines come")
    parser.add_argument("--rank", type=int, metavar="N", help="of a TrainingJob: this one alone")
    parser.add_argument(
        "--attempt", type=int, metavar="N", help="of a TrainingJob [default: the latest]"
    )
    parser.add_argument("--tail", type=int, metavar="N", help="of each pod the last N lines first")
    given = parser.parse_args(arguments)
    for name in ("rank", "attempt", "tail"):
        value = getattr(given, name)
        if value is not None and value < 0:
            parser.error(f"--{name} must not be below 0")

    async def act(client: Any, namespace: str) -> int:
        job = await common.job_named(client, namespace, given.name)
        if job is None:
            if await common.service_named(client, namespace, given.name) is None:
                raise common.Missing(
                    f"there is no TrainingJob or InferenceService {given.name!r} in namespace {namespace}"
                )
            pods = await _pods(client, namespace, f"{SERVICE_LABEL}={given.name}")
            return await _show(client, namespace, pods, "triton", given)
        attempt = given.attempt or job.status.attempt or 0
        pods = await _pods(client, namespace, f"{JOB_LABEL}={given.name},{ATTEMPT_LABEL}={attempt}")
        if given.rank is not None:
            worker = given.rank // job.spec.workers.ranks_per_worker
            pods = [pod for pod in pods if index_of(pod) == worker]
        if not pods:
            whose = f"rank {given.rank} of attempt" if given.rank is not None else "attempt"
            raise common.Missing(f"there is no pod of {whose} {attempt} of {given.name}")
        return await _show(client, namespace, pods, "trainer", given)

    return common.run("logs", given, act)


async def _pods(client: Any, namespace: str, selector: str) -> list[PodView]:
    found = [PodView.of(body) for body in await listed(client, "v1", "pods", namespace, selector)]
    return sorted(found, key=lambda pod: (index_of(pod) or 0, pod.name))


async def _show(
    client: Any, namespace: str, pods: Sequence[PodView], container: str, given: Any
) -> int:
    """Each pod's log: one after the other, or all at once as they come."""
    if not pods:
        raise common.Missing(f"{given.name} has no pods now")
    several = container == "triton" and len(pods) > 1

    async def one(pod: PodView) -> None:
        prefix = f"[{pod.name}] " if several else ""
        if given.follow:
            await _started(client, namespace, pod, container)
        async for line in lines(
            client, namespace, pod.name, container, follow=given.follow, tail=given.tail
        ):
            if _wanted(line, given.rank):
                sys.stdout.write(f"{prefix}{line}\n")
        sys.stdout.flush()

    if given.follow:
        async with _group() as group:
            for pod in pods:
                group.create_task(one(pod))
        return common.DONE
    failed = None
    for pod in pods:
        try:
            await one(pod)
        except ClusterError as error:  # one that has not started hides no other
            failed = error
            sys.stderr.write(f"preamar logs: {pod.name}: {error}\n")
    return common.DONE if failed is None else common.FAILED


@contextlib.asynccontextmanager
async def _group() -> Any:
    """A group of tasks whose first error is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _started(client: Any, namespace: str, pod: PodView, container: str) -> None:
    """Wait until the container has a log, or its pod is gone."""
    while pod.phase == "Pending" and not pod.deleting:
        await asyncio.sleep(WAIT_SECONDS)
        found = await listed(client, "v1", "pods", namespace)
        now = [PodView.of(body) for body in found if body["metadata"]["name"] == pod.name]
        if not now:
            raise common.Missing(f"pod {pod.name} is gone before its {container} started")
        pod = now[0]


def _wanted(line: str, rank: int | None) -> bool:
    """Lines of one rank; those of the agent have no rank, and concern all of its pod."""
    return rank is None or not line.startswith("[rank ") or line.startswith(f"[rank {rank}] ")
