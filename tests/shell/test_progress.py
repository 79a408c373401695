"""Rank 0 is asked, within bounds, and a status is written only for news.

Holds: shell/polling/progress.py, shell/figures/training_figures.py
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from preamar.core.pods import PodView
from preamar.core.training.observe import JobView
from preamar.core.training.pods.tokens import stop_token
from preamar.core.training.progress import ProgressReport
from preamar.shell.figures.training_figures import TrainingFigures
from preamar.shell.polling import progress
from preamar.shell.polling.progress import Agent, Order, Poller, ordered, preparing_first, rank_zero
from preamar.shell.watching.keys import JOB_KIND, Key

GPT = Key(JOB_KIND, "demo", "gpt")


class AnAgent:
    def __init__(self, answer: Any, stop: int = 202) -> None:
        self.answer, self.asked, self.port = answer, 0, 0
        self.stop, self.told = stop, []

    @contextlib.asynccontextmanager
    async def polled(self, added: list[Key]) -> AsyncIterator[Poller]:
        async def handle(_request: web.Request) -> web.StreamResponse:
            self.asked += 1
            if self.answer == "silence":
                await asyncio.sleep(60)
            if isinstance(self.answer, str):
                return web.Response(text=self.answer)
            return web.json_response(self.answer)

        async def stop(request: web.Request) -> web.StreamResponse:
            self.told.append((request.headers["Authorization"], await request.json()))
            return web.Response(status=self.stop)

        app = web.Application()
        app.router.add_get("/progress", handle)
        app.router.add_post("/stop", stop)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        poller = Poller(added.append, runner.addresses[0][1])
        task = asyncio.create_task(poller.run())
        try:
            yield poller
        finally:
            assert not task.done()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await runner.cleanup()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.02)
    monkeypatch.setattr(progress, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(progress, "DEADLINE_SECONDS", 0.2)


async def asked(agent: AnAgent, times: int) -> None:
    async with asyncio.timeout(40):
        while agent.asked < times:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_steps_alone_are_shown_every_fifteen_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, added = AnAgent({"attempt": 1, "state": "Training", "step": 1}), []
    async with agent.polled(added) as poller:
        poller.ask(GPT, Agent(1, "127.0.0.1"))
        await asked(agent, 2)
        assert added == [GPT]
        agent.answer = {"attempt": 1, "state": "Training", "step": 2}
        await asked(agent, 5)
        assert added == [GPT]
        assert poller.shown(GPT) == ProgressReport(1, "Training", 1)
        now = time.monotonic
        monkeypatch.setattr(progress.time, "monotonic", lambda: now() + 15)
        await asked(agent, 8)
    assert poller.shown(GPT) == ProgressReport(1, "Training", 2)
    assert len(added) == 2


async def test_a_new_state_is_shown_at_once() -> None:
    agent, added = AnAgent({"attempt": 1, "state": "Training", "step": 1}), []
    async with agent.polled(added) as poller:
        poller.ask(GPT, Agent(1, "127.0.0.1"))
        await asked(agent, 2)
        agent.answer = {"attempt": 1, "state": "Saving", "step": 1}
        await asked(agent, 4)
    assert len(added) == 2


@pytest.mark.parametrize(
    "answer", ["silence", "no json", [], {"attempt": 7, "state": "Training"}, {}], ids=str
)
async def test_what_is_no_answer_of_this_attempt_is_no_news(answer: Any) -> None:
    agent, added = AnAgent(answer), []
    async with agent.polled(added) as poller:
        poller.ask(GPT, Agent(1, "127.0.0.1"))
        await asked(agent, 3)
        assert poller.shown(GPT) is None
    assert added == []


async def test_who_has_left_is_not_asked() -> None:
    agent, added = AnAgent({"attempt": 1}), []
    async with agent.polled(added) as poller:
        poller.ask(GPT, Agent(1, "127.0.0.1"))
        await asked(agent, 1)
        poller.leave(GPT)
        await asyncio.sleep(0.1)
        before = agent.asked
        await asyncio.sleep(0.2)
        assert agent.asked == before
        assert poller.shown(GPT) is None


def a_pod(rank: str, attempt: str = "1", **more: Any) -> PodView:
    labels = {"batch.kubernetes.io/job-completion-index": rank, "preamar.dev/attempt": attempt}
    return PodView(
        name=rank, uid=rank, **({"phase": "Running", "ip": "1.2.3.4"} | more), labels=labels
    )


def a_job(attempt: int, **more: Any) -> JobView:
    return JobView(name=f"gpt-{attempt}", uid="u", version="1", attempt=attempt, **more)


def test_rank_zero_of_the_newest_attempt_is_the_one_to_ask() -> None:
    pods = (a_pod("1", ip="9.9.9.9"), a_pod("0", "1"), a_pod("0", "2", ip="5.6.7.8"))
    assert rank_zero((a_job(1), a_job(2)), pods) == Agent(2, "5.6.7.8")
    assert rank_zero((a_job(1),), pods) == Agent(1, "1.2.3.4")


@pytest.mark.parametrize(
    "pod", [a_pod("0", phase="Pending"), a_pod("0", ip=""), a_pod("0", deleting=True), a_pod("1")]
)
def test_a_rank_that_cannot_answer_is_not_asked(pod: PodView) -> None:
    assert rank_zero((a_job(1),), (pod,)) is None


def test_nobody_is_asked_after_the_end() -> None:
    assert rank_zero((a_job(1, complete=True),), (a_pod("0"),)) is None
    assert rank_zero((), ()) is None


async def test_the_wait_for_data_is_a_series_of_jobs_that_run() -> None:
    registry = CollectorRegistry()
    agent = AnAgent({"attempt": 1, "dataWaitRatio": "0.250"})
    async with agent.polled([]) as poller:
        registry.register(TrainingFigures(poller))
        poller.ask(GPT, Agent(1, "127.0.0.1"))
        await asked(agent, 2)
        labels = {"job": "demo/gpt"}
        assert registry.get_sample_value("preamar_training_data_wait_ratio", labels) == 0.25
        poller.leave(GPT)
        assert registry.get_sample_value("preamar_training_data_wait_ratio", labels) is None


STOP = Order(1, "token", "UserAsked: 1 workers")


async def told(agent: AnAgent, times: int) -> None:
    async with asyncio.timeout(40):
        while len(agent.told) < times:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_an_order_is_sent_at_once_and_only_until_it_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "EVERY_SECONDS", 3600)
    agent, added = AnAgent({"attempt": 1, "state": "Training"}), []
    async with agent.polled(added) as poller:
        poller.ask(GPT, Agent(1, "127.0.0.1"))
        await asked(agent, 1)
        poller.ask(GPT, Agent(1, "127.0.0.1"), STOP)
        await told(agent, 1)
        await asked(agent, 2)
        poller.ask(GPT, Agent(1, "127.0.0.1"), STOP)
        await asyncio.sleep(0.1)
        heard = poller.heard(GPT)
    assert agent.told == [("Bearer token", {"reason": STOP.reason})]
    assert heard is not None
    assert heard.accepted


@pytest.mark.parametrize("code", [401, 404, 500])
async def test_an_order_that_is_not_taken_is_sent_again_and_its_clock_goes_on(code: int) -> None:
    agent, added = AnAgent({"attempt": 1}, stop=code), []
    async with agent.polled(added) as poller:
        poller.ask(GPT, Agent(1, "127.0.0.1"), STOP)
        await told(agent, 3)
        heard = poller.heard(GPT)
        assert heard is not None
        assert not heard.accepted
        assert heard.seconds > 0
        poller.ask(GPT, None, STOP)  # its pod is gone, or was never there
        later = poller.heard(GPT)
        assert later is not None
        assert later.seconds >= heard.seconds
        poller.ask(GPT, None)
        assert poller.heard(GPT) is None


async def test_an_order_for_another_attempt_reaches_nobody() -> None:
    agent, added = AnAgent({"attempt": 2}), []
    async with agent.polled(added) as poller:
        poller.ask(GPT, Agent(2, "127.0.0.1"), STOP)
        await asked(agent, 3)
    assert agent.told == []


def test_an_order_comes_from_the_job_that_shows_it() -> None:
    note = {"preamar.dev/stop": '{"from": 2, "to": 1, "reason": "UserAsked", "generation": 3, '
            '"at": "2026-01-01T00:00:00Z"}'}  # fmt: skip
    job = JobView("gpt-1", "u", "1", 1, annotations=note)
    found = ordered((job,), "uid", b"key")
    assert found == Order(1, stop_token(b"key", "uid", 1), "UserAsked: 1 workers")
    for over in (
        JobView("gpt-1", "u", "1", 1),
        JobView("gpt-1", "u", "1", 1, annotations=note, failed=True),
        JobView("gpt-1", "u", "1", 1, annotations=note, deleting=True),
    ):
        assert ordered((over,), "uid", b"key") is None
    assert ordered((), "uid", b"key") is None


async def test_the_first_pod_that_prepares_data_is_asked_as_attempt_zero() -> None:
    view = JobView("gpt-prepare", "u", "1", 0)
    labels = {"preamar.dev/data": "k", "batch.kubernetes.io/job-completion-index": "0"}
    pod = PodView("p", "p", phase="Running", ip="127.0.0.1", labels=labels)
    assert preparing_first(view, [pod]) == Agent(0, "127.0.0.1")
    assert preparing_first(None, [pod]) is None
    assert preparing_first(replace(view, complete=True), [pod]) is None
    assert preparing_first(view, [replace(pod, phase="Pending")]) is None
    assert rank_zero((), [pod]) is None
    agent = AnAgent({"attempt": 0, "state": "tokenising 30 %"})
    async with agent.polled([]) as poller:
        poller.ask(GPT, Agent(0, "127.0.0.1"))
        await asked(agent, 2)
        shown = poller.shown(GPT)
        assert shown is not None
        assert (shown.attempt, shown.state) == (0, "tokenising 30 %")
