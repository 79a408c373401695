"""Requests at exact times, whether or not those before were answered: what a trace says is what the
gateway gets. A caller that waits for answers would slow down with the service and hide its queue.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from e2e.cluster import Cluster

ANSWER_SECONDS = 600.0


@dataclass(slots=True)
class Asked:
    """One request: when it was due, in seconds of the wall clock, how much later it was sent, the
    seconds from due to its whole answer, and why there was none."""

    due: float
    late: float = 0.0
    seconds: float = float("inf")
    trouble: str = ""


async def replay(
    here: Cluster, model: str, arrivals: Sequence[float], service: Sequence[float], begin: float
) -> list[Asked]:
    """Ask the model ``begin + arrivals[n]`` (wall clock) for ``service[n]`` seconds each; all
    answers, in order of arrival."""
    asked = [Asked(begin + at) for at in arrivals]
    headers = {"Authorization": f"Bearer {here.key()}"}
    limits = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    connector = aiohttp.TCPConnector(limit=0)
    url = f"{here.gateway_url}/v1/completions"
    async with (
        aiohttp.ClientSession(headers=headers, timeout=limits, connector=connector) as session,
        asyncio.TaskGroup() as group,
    ):
        for one, seconds in zip(asked, service, strict=True):
            if (left := one.due - time.time()) > 0:
                await asyncio.sleep(left)
            wish = {"model": model, "prompt": f"{seconds:.4f}", "max_tokens": 1}
            group.create_task(_ask(session, url, wish, one))
    return asked


async def _ask(
    session: aiohttp.ClientSession, url: str, wish: dict[str, object], one: Asked
) -> None:
    one.late = time.time() - one.due
    try:
        async with session.post(url, json=wish) as answer:
            body = await answer.json()
        if answer.status != 200:
            one.trouble = f"{answer.status} {body.get('error', {}).get('code')}"
        elif body["choices"][0]["finish_reason"] != "stop":
            one.trouble = "no end"
        else:
            one.seconds = time.time() - one.due
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        one.trouble = f"{type(error).__name__}: {error}"[:120]


def troubles(asked: Sequence[Asked]) -> Counter[str]:
    """Why requests failed."""
    return Counter(one.trouble for one in asked if one.trouble)
