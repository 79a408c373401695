"""What do commands that look at a cluster share: flags, how they connect, how they fail."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from preamar.api import GROUP, VERSION
from preamar.api.inference import InferenceService
from preamar.api.meta import problems
from preamar.api.training import TrainingJob
from preamar.cluster.connect import Unreachable, connect, namespace_of
from preamar.cluster.port import ClusterError
from preamar.cluster.reading import listed, one

API_VERSION = f"{GROUP}/{VERSION}"
JOBS, SERVICES = "trainingjobs", "inferenceservices"
DONE, FAILED, USAGE = 0, 1, 2
Kind = TypeVar("Kind", TrainingJob, InferenceService)


class Missing(Exception):
    """What was asked for is not there; the message says what to look for."""


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """A parser with the flags that all of these commands have."""
    made = argparse.ArgumentParser(prog=f"preamar {name}", description=description)
    made.add_argument("-n", "--namespace", metavar="X", help="instead of the context's own")
    made.add_argument(
        "--context", metavar="X", help="of the kubeconfig, instead of its current one"
    )
    made.add_argument(
        "--kubeconfig", metavar="FILE", help="instead of $KUBECONFIG or ~/.kube/config"
    )
    return made


def run(name: str, given: argparse.Namespace, act: Callable[[Any, str], Awaitable[int]]) -> int:
    """Connect and act with a client and a namespace; every failure is a sentence and exit code 1."""

    async def connected() -> int:
        async with connect(given.kubeconfig, given.context) as client:
            namespace = given.namespace or namespace_of(given.kubeconfig, given.context)
            return await act(client, namespace)

    try:
        return asyncio.run(connected())
    except (Unreachable, ClusterError, Missing, OSError) as error:
        sys.stderr.write(f"preamar {name}: {error}\n")
        return FAILED
    except KeyboardInterrupt:
        return 130


async def job_named(client: Any, namespace: str, name: str) -> TrainingJob | None:
    """The TrainingJob of that name; None without one."""
    body = await one(client, API_VERSION, JOBS, namespace, name)
    return None if body is None else read(TrainingJob, body)


async def service_named(client: Any, namespace: str, name: str) -> InferenceService | None:
    """The InferenceService of that name; None without one."""
    body = await one(client, API_VERSION, SERVICES, namespace, name)
    return None if body is None else read(InferenceService, body)


async def all_of(
    client: Any, namespace: str
) -> tuple[Sequence[TrainingJob], Sequence[InferenceService]]:
    """Every job and service of a namespace, of all where it is empty, in the order of names."""
    jobs, services = await asyncio.gather(
        listed(client, API_VERSION, JOBS, namespace),
        listed(client, API_VERSION, SERVICES, namespace),
    )
    return (
        [read(TrainingJob, body) for body in jobs],
        [read(InferenceService, body) for body in services],
    )


def read(kind: type[Kind], body: Mapping[str, Any]) -> Kind:  # Python 3.11 has no other
    """A resource as the API server returns it. Raises ``Missing`` where another version wrote it."""
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        name = (body.get("metadata") or {}).get("name")
        raise Missing(
            f"{name} cannot be read by this version: {'; '.join(problems(error))}"
        ) from None
