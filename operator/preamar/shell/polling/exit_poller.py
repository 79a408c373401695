"""Which pods of training jobs have said that their work is over?

The kubelet tells of a container's end a second or more after it, and a resize waits for two of
them. So the pods it waits for are asked (`GET /ended`, held open until there is an end). What they
say only comes earlier: without an answer the pod's status decides, as after a start of ours.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import aiohttp

from preamar.core.pods import PodView
from preamar.core.training.attempts.endings import STOPPED, converters
from preamar.core.training.elastic.resize import order_of
from preamar.core.training.observe import JobView
from preamar.protocol import ports
from preamar.shell.polling.progress import rank_zero_pod
from preamar.shell.watching.keys import Key
from preamar.shell.watching.mirror import Add

log = logging.getLogger(__name__)
HELD_SECONDS = 30.0
"""A pod answers after 20 s, ended or not."""
PAUSE_SECONDS = 0.5
MOST_ASKED = 64
LARGEST_ANSWER = 4096


class Waited(NamedTuple):
    """A pod, and the exit code by which its work is done."""

    pod: str
    ip: str
    code: int


def awaited(
    jobs: Sequence[JobView], conversions: Sequence[JobView], pods: Sequence[PodView]
) -> tuple[Waited, ...]:
    """The pods whose end something waits for: ranks that were told to stop, and converters."""
    found = []
    rank_zero = rank_zero_pod(jobs, pods)
    if rank_zero is not None and order_of(jobs[-1]) is not None:
        found.append(Waited(rank_zero.name, rank_zero.ip, STOPPED))
    for view in conversions:
        if not view.over and not view.deleting:
            found += [
                Waited(pod.name, pod.ip, 0)
                for pod in converters(view, tuple(pods))
                if pod.phase == "Running" and pod.ip and not pod.deleting
            ]
    return tuple(found)


class ExitPoller:
    """Asks pods for their end, and adds the key of a job when one has come."""

    def __init__(self, add: Add, port: int = ports.AGENT) -> None:
        self._add, self._port = add, port
        self._asked: dict[tuple[Key, Waited], asyncio.Task[None]] = {}
        self._told: dict[Key, set[str]] = {}

    def wait(self, key: Key, wanted: Iterable[Waited], there: Iterable[str]) -> None:
        """Ask these pods from now on. What was said by a pod that is not ``there`` is forgotten."""
        wanted = set(wanted)
        for one, task in tuple(self._asked.items()):
            if one[0] == key and one[1] not in wanted:
                task.cancel()
                del self._asked[one]
        said = self._told.get(key, set()) & set(there)
        self._told[key] = said
        for each in wanted:
            if (key, each) not in self._asked and each.pod not in said:
                if len(self._asked) >= MOST_ASKED:
                    break  # their status will tell
                self._asked[key, each] = asyncio.create_task(self._ask(key, each))
        if not said:
            del self._told[key]

    def told(self, key: Key) -> frozenset[str]:
        """The pods of a job that said it."""
        return frozenset(self._told.get(key, ()))

    def leave(self, key: Key) -> None:
        """Ask no more."""
        self.wait(key, (), ())

    def close(self) -> None:
        """Ask nobody any more."""
        for task in self._asked.values():
            task.cancel()
        self._asked.clear()

    async def _ask(self, key: Key, pod: Waited) -> None:
        host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
        url = f"http://{host}:{self._port}/ended"
        limits = aiohttp.ClientTimeout(total=HELD_SECONDS, sock_connect=2.0)
        async with aiohttp.ClientSession(timeout=limits, trust_env=False) as session:
            while True:
                try:
                    async with session.get(url) as response:
                        if response.status == 404:
                            return  # an image that does not know the question
                        code = _code(await response.content.read(LARGEST_ANSWER))
                except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                    log.debug("%s: %s says nothing: %s", key, pod.pod, error)
                    await asyncio.sleep(PAUSE_SECONDS)
                    continue
                if code == pod.code:
                    self._told.setdefault(key, set()).add(pod.pod)
                    self._add(key)
                if code is not None:
                    return


def _code(body: bytes) -> int | None:
    with contextlib.suppress(ValueError, RecursionError, TypeError, KeyError):
        code = json.loads(body)["ended"]
        return code if type(code) is int else None
    raise ValueError("not an answer")
