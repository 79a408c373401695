"""How far has each training run come? Rank 0's agent is asked every 5 s, within 2 s.

An answer that only moves the step forward is shown to a pass every 15 s, so that the status is not
written more often; a new state or checkpoint is shown at once. No answer is no news.
"""

import asyncio
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import aiohttp

from preamar.core.pods import PodView
from preamar.core.training.observe import ATTEMPT_LABEL, JobView
from preamar.core.training.progress import Progress
from preamar.shell.keys import Key
from preamar.shell.mirror import Add

log = logging.getLogger(__name__)
EVERY_SECONDS, DEADLINE_SECONDS, SHOWN_SECONDS = 5.0, 2.0, 15.0
PAUSE_SECONDS = 1.0
AT_ONCE = 16
LARGEST_ANSWER = 64 * 1024
AGENT_PORT = 29400
RANK_LABEL = "batch.kubernetes.io/job-completion-index"


class Agent(NamedTuple):
    """Where rank 0 of an attempt listens."""

    attempt: int
    ip: str


@dataclass(slots=True)
class _Run:
    agent: Agent
    latest: Progress | None = None
    shown: Progress | None = None
    shown_at: float = -SHOWN_SECONDS


def rank_zero(jobs: Sequence[JobView], pods: Sequence[PodView]) -> Agent | None:
    """Rank 0 of the newest attempt, if it runs."""
    if not jobs or jobs[-1].over:
        return None
    attempt = jobs[-1].attempt
    for pod in pods:
        rank = pod.labels.get(RANK_LABEL) or pod.annotations.get(RANK_LABEL)
        if (
            rank == "0"
            and pod.labels.get(ATTEMPT_LABEL) == str(attempt)
            and pod.phase == "Running"
            and pod.ip
            and not pod.deleting
        ):
            return Agent(attempt, pod.ip)
    return None


class Poller:
    """Asks agents, and adds the key of a run that has news."""

    def __init__(self, add: Add, port: int = AGENT_PORT) -> None:
        self._add = add
        self._port = port
        self._runs: dict[Key, _Run] = {}

    def ask(self, key: Key, agent: Agent) -> None:
        """Ask this agent from now on."""
        run = self._runs.get(key)
        if run is None or run.agent != agent:
            self._runs[key] = _Run(agent)

    def leave(self, key: Key) -> None:
        """Ask no more."""
        self._runs.pop(key, None)

    def shown(self, key: Key) -> Progress | None:
        """What a pass may look at."""
        run = self._runs.get(key)
        return run.shown if run else None

    def latest(self) -> dict[Key, Progress]:
        """What each agent that runs last answered."""
        return {key: run.latest for key, run in self._runs.items() if run.latest is not None}

    async def run(self) -> None:
        """Ask until cancelled. Proxies of the environment are for the world outside."""
        limits = aiohttp.ClientTimeout(total=DEADLINE_SECONDS)
        async with aiohttp.ClientSession(timeout=limits, trust_env=False) as session:
            allowed = asyncio.Semaphore(AT_ONCE)
            while True:
                started = time.monotonic()
                await asyncio.gather(
                    *(self._one(session, allowed, key) for key in tuple(self._runs))
                )
                spent = time.monotonic() - started
                await asyncio.sleep(max(PAUSE_SECONDS, EVERY_SECONDS - spent))

    async def _one(
        self, session: aiohttp.ClientSession, allowed: asyncio.Semaphore, key: Key
    ) -> None:
        run = self._runs.get(key)
        if run is None:
            return
        async with allowed:
            answer = await self._get(session, run.agent, key)
        if answer is None or answer.attempt != run.agent.attempt:
            return
        run.latest = answer
        if _news(run.shown, answer) or (
            answer != run.shown and time.monotonic() - run.shown_at >= SHOWN_SECONDS
        ):
            run.shown, run.shown_at = answer, time.monotonic()
            self._add(key)

    async def _get(self, session: aiohttp.ClientSession, agent: Agent, key: Key) -> Progress | None:
        host = f"[{agent.ip}]" if ":" in agent.ip else agent.ip
        try:
            async with session.get(f"http://{host}:{self._port}/progress") as response:
                body = await response.content.read(LARGEST_ANSWER)
                return Progress.of(json.loads(body)) if response.status == 200 else None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, RecursionError) as error:
            log.debug("%s: rank 0 says nothing: %s", key, error or type(error).__name__)
            return None


def _news(before: Progress | None, now: Progress) -> bool:
    """Whether more changed than how far it is."""
    if before is None:
        return True
    return (before.state, before.checkpoint, before.resumed_from) != (
        now.state,
        now.checkpoint,
        now.resumed_from,
    )
