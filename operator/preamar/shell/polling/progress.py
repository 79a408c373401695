"""How far has each training run come, and has it heard that it must stop?

Rank 0's agent is asked every 5 s, within 2 s. An answer that only moves the step forward is shown to
a pass every 15 s, so that the status is not written more often; a new state or checkpoint is shown
at once. No answer is no news. An order to stop is sent at once, and again until it is taken.
"""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import aiohttp

from preamar.core.pods import PodView
from preamar.core.training.elastic.resize import order_of
from preamar.core.training.observe import JobView, StopAck
from preamar.core.training.pods.tokens import stop_token
from preamar.core.training.progress import ProgressReport
from preamar.protocol import ports
from preamar.protocol.labels import ATTEMPT_LABEL, DATA
from preamar.shell.watching.keys import Key
from preamar.shell.watching.mirror import Add

log = logging.getLogger(__name__)
EVERY_SECONDS, DEADLINE_SECONDS, SHOWN_SECONDS = 5.0, 2.0, 15.0
PAUSE_SECONDS = 1.0
AT_ONCE = 16
LARGEST_ANSWER = 64 * 1024
RANK_LABEL = "batch.kubernetes.io/job-completion-index"


class Agent(NamedTuple):
    """Where rank 0 of an attempt listens."""

    attempt: int
    ip: str


class StopOrder(NamedTuple):
    """That an attempt must stop. The token is a secret, good for that attempt alone."""

    attempt: int
    token: str
    reason: str


@dataclass(slots=True)
class _PolledRun:
    agent: Agent | None
    order: StopOrder | None = None
    ordered_at: float = 0.0
    accepted: bool = False
    latest: ProgressReport | None = None
    shown: ProgressReport | None = None
    shown_at: float = -SHOWN_SECONDS


def rank_zero(jobs: Sequence[JobView], pods: Sequence[PodView]) -> Agent | None:
    """Rank 0 of the newest attempt, if it runs."""
    pod = rank_zero_pod(jobs, pods)
    return Agent(jobs[-1].attempt, pod.ip) if pod is not None else None


def rank_zero_pod(jobs: Sequence[JobView], pods: Sequence[PodView]) -> PodView | None:
    """The pod of rank 0 of the newest attempt, if it runs."""
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
            return pod
    return None


def preparing_first(view: JobView | None, pods: Sequence[PodView]) -> Agent | None:
    """The first pod of the Job that prepares data, if it runs. It answers as attempt 0."""
    if view is None or view.over:
        return None
    for pod in pods:
        first = pod.labels.get(RANK_LABEL) == "0" and DATA in pod.labels
        if first and pod.phase == "Running" and pod.ip and not pod.deleting:
            return Agent(0, pod.ip)
    return None


def ordered(jobs: Sequence[JobView], uid: str | None, key: bytes) -> StopOrder | None:
    """The order that the newest attempt's Job shows, while there is somebody to hear it."""
    if not jobs or jobs[-1].over or jobs[-1].deleting:
        return None
    found = order_of(jobs[-1])
    if found is None:
        return None
    attempt = jobs[-1].attempt
    return StopOrder(
        attempt, stop_token(key, uid or "", attempt), f"{found.reason}: {found.to} workers"
    )


class Poller:
    """Asks agents, and adds the key of a run that has news."""

    def __init__(self, add: Add, port: int = ports.AGENT) -> None:
        self._add = add
        self._port = port
        self._runs: dict[Key, _PolledRun] = {}
        self._hurry = asyncio.Event()

    def ask(self, key: Key, agent: Agent | None, order: StopOrder | None = None) -> None:
        """Ask this agent from now on, and tell it this. Neither: ask no more."""
        if agent is None and order is None:
            self.leave(key)
            return
        run = self._runs.get(key)
        if run is None or run.agent != agent:
            before, run = run, _PolledRun(agent)
            if before is not None and before.order == order:  # the clock of the order goes on
                run.order, run.ordered_at = order, before.ordered_at
                run.accepted = before.accepted
            self._runs[key] = run
        if run.order != order:
            run.order, run.ordered_at, run.accepted = order, time.monotonic(), False
            self._hurry.set()

    def heard(self, key: Key) -> StopAck | None:
        """What became of the order to stop; None where there is none."""
        run = self._runs.get(key)
        if run is None or run.order is None:
            return None
        return StopAck(run.accepted, time.monotonic() - run.ordered_at)

    def leave(self, key: Key) -> None:
        """Ask no more."""
        self._runs.pop(key, None)

    def shown(self, key: Key) -> ProgressReport | None:
        """What a pass may look at."""
        run = self._runs.get(key)
        return run.shown if run else None

    def latest(self) -> dict[Key, ProgressReport]:
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
                if any(run.order and not run.accepted for run in self._runs.values()):
                    spent = EVERY_SECONDS  # again after a short pause
                with contextlib.suppress(TimeoutError):
                    pause = max(PAUSE_SECONDS, EVERY_SECONDS - spent)
                    await asyncio.wait_for(self._hurry.wait(), pause)
                self._hurry.clear()

    async def _one(
        self, session: aiohttp.ClientSession, allowed: asyncio.Semaphore, key: Key
    ) -> None:
        run = self._runs.get(key)
        if run is None or run.agent is None:
            return
        async with allowed:
            if run.order is not None and not run.accepted:
                run.accepted = await self._tell(session, run.agent, run.order, key)
            answer = await self._get(session, run.agent, key)
        if answer is None or answer.attempt != run.agent.attempt:
            return
        run.latest = answer
        if _news(run.shown, answer) or (
            answer != run.shown and time.monotonic() - run.shown_at >= SHOWN_SECONDS
        ):
            run.shown, run.shown_at = answer, time.monotonic()
            self._add(key)

    async def _tell(
        self, session: aiohttp.ClientSession, agent: Agent, order: StopOrder, key: Key
    ) -> bool:
        """Whether the agent has taken the order. One that refuses it is as good as unreachable."""
        if order.attempt != agent.attempt:
            return False
        headers = {"Authorization": f"Bearer {order.token}"}
        try:
            async with session.post(
                f"{self._url(agent)}/stop", json={"reason": order.reason}, headers=headers
            ) as response:
                if response.status != 202:
                    log.warning("%s: rank 0 does not take the order: %s", key, response.status)
                return response.status == 202
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            log.info("%s: rank 0 cannot be told to stop: %s", key, error or type(error).__name__)
            return False

    def _url(self, agent: Agent) -> str:
        host = f"[{agent.ip}]" if ":" in agent.ip else agent.ip
        return f"http://{host}:{self._port}"

    async def _get(
        self, session: aiohttp.ClientSession, agent: Agent, key: Key
    ) -> ProgressReport | None:
        try:
            async with session.get(f"{self._url(agent)}/progress") as response:
                body = await response.content.read(LARGEST_ANSWER)
                return ProgressReport.of(json.loads(body)) if response.status == 200 else None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, RecursionError) as error:
            log.debug("%s: rank 0 says nothing: %s", key, error or type(error).__name__)
            return None


def _news(before: ProgressReport | None, now: ProgressReport) -> bool:
    """Whether more changed than how far it is."""
    if before is None:
        return True
    return (before.state, before.checkpoint, before.resumed_from, before.resumed) != (
        now.state,
        now.checkpoint,
        now.resumed_from,
        now.resumed,
    )
