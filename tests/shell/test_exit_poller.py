"""Pods that something waits for are asked for their end; the others are left alone.

Holds: shell/polling/exit_poller.py
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from preamar.shell.polling import exit_poller as module
from preamar.shell.polling.exit_poller import Ends, Waited, awaited
from preamar.shell.watching.keys import JOB_KIND, Key
from tests.core.builders import a_rank, an_attempt
from tests.core.training.test_resize import STOP, a_conversion, a_converter, order

GPT = Key(JOB_KIND, "demo", "gpt")
POD = Waited("t-1-0", "127.0.0.1", 75)


@contextlib.asynccontextmanager
async def pod(answers: list[Any], added: list[Key]) -> AsyncIterator[tuple[Ends, list[int]]]:
    """Answers are bodies or codes, one a question; the last stays."""
    asked: list[int] = []

    async def handle(_request: web.Request) -> web.StreamResponse:
        answer = answers[min(len(asked), len(answers) - 1)]
        asked.append(1)
        if isinstance(answer, int):
            return web.Response(status=answer)
        if answer == "held":
            await asyncio.sleep(60)
        return web.Response(text=answer)

    app = web.Application()
    app.router.add_get("/ended", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    ends = Ends(added.append, runner.addresses[0][1])
    try:
        yield ends, asked
    finally:
        ends.close()
        await runner.cleanup()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.01)


async def until(true: Any) -> None:
    async with asyncio.timeout(40):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_an_end_is_told_once_and_forgotten_with_its_pod():
    added: list[Key] = []
    trouble = [500, "nonsense", '{"ended": true}', '{"ended": null}', '{"ended": 75}']
    async with pod(trouble, added) as (ends, asked):
        ends.wait(GPT, [POD], ["t-1-0"])
        await until(lambda: added)
        assert (added, ends.told(GPT), len(asked)) == ([GPT], {"t-1-0"}, len(trouble))
        ends.wait(GPT, [POD], ["t-1-0"])
        await asyncio.sleep(0.05)
        assert len(asked) == len(trouble)
        ends.wait(GPT, [], ["t-2-0"])
        assert not ends.told(GPT)


async def test_another_exit_code_is_no_end_of_the_work():
    added: list[Key] = []
    async with pod(['{"ended": 1}'], added) as (ends, asked):
        ends.wait(GPT, [POD], ["t-1-0"])
        await until(lambda: asked)
        await asyncio.sleep(0.05)
        assert (added, ends.told(GPT), len(asked)) == ([], set(), 1)


async def test_an_image_that_does_not_know_the_question_is_asked_once():
    async with pod([404], []) as (ends, asked):
        ends.wait(GPT, [POD], ["t-1-0"])
        await until(lambda: asked)
        await asyncio.sleep(0.05)
        assert len(asked) == 1


async def test_whoever_is_not_waited_for_any_more_is_asked_no_more_and_there_is_a_bound(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(module, "MOST_ASKED", 3)
    async with pod(["held"], []) as (ends, asked):
        many = [Waited(f"t-1-{n}", "127.0.0.1", 75) for n in range(5)]
        ends.wait(GPT, many, [each.pod for each in many])
        await until(lambda: len(asked) == 3)
        await asyncio.sleep(0.05)
        assert len(asked) == len(ends._asked) == 3
        ends.leave(GPT)
        assert not ends._asked


def test_only_ranks_that_were_told_to_stop_and_converters_are_waited_for():
    ranks = (a_rank(0, ip="10.0.0.1"), a_rank(1, ip="10.0.0.2"))
    plain, told = an_attempt(1), an_attempt(1, annotations={STOP: order()})
    assert awaited((plain,), (), ranks) == ()
    assert awaited((told,), (), ranks) == (Waited("t-1-0", "10.0.0.1", 75),)
    from dataclasses import replace

    busy = replace(a_converter(), ip="10.0.0.3")
    assert awaited((plain,), (a_conversion(),), (busy,)) == (Waited("c", "10.0.0.3", 0),)
    assert awaited((plain,), (a_conversion(complete=True),), (busy,)) == ()
