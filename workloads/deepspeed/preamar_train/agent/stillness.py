"""Watches over the beats of one pod's ranks, and tells which one hangs.

First a rank is late; then all are asked for their stacks; a moment later they are judged. Where all
of this pod's ranks wait for one of another pod, its agent gets a while to name the cause.
"""

from collections.abc import Mapping

from preamar_train.agent import hang
from preamar_train.agent.exits import ExitVerdict
from preamar_train.agent.settings import Settings
from preamar_train.failures import Class


class Stillness:
    def __init__(self, config: Settings) -> None:
        self._config = config
        self._asked_at: float | None = None

    def judge(self, pids: Mapping[int, int], now: float) -> ExitVerdict | None:
        """The verdict on running ranks (rank -> pid), once there is one. Call it often."""
        late = hang.late(pids, now, self._config.hang_seconds)
        if not late:
            self._asked_at = None
            return None
        if self._asked_at is None:
            self._asked_at = now
            print(
                f"rank {late[0].rank} is late by {late[0].seconds:.0f} s: stacks follow", flush=True
            )
            hang.ask(pids)
        if now - self._asked_at < hang.STACK_SECONDS:
            return None
        places = [hang.place(each.rank, each.pid) for each in late]
        causes = [each.rank for each in places if not each.waits]
        elsewhere = not causes and len(pids) < self._config.world_size
        if elsewhere and now - self._asked_at < hang.OTHERS_SECONDS:
            return None
        for rank in pids:
            for line in hang.stack(rank).splitlines():
                print(f"[rank {rank}] {line}", flush=True)
        worst = max(late, key=lambda each: each.seconds)
        words = hang.sentence(worst, places, self._config.world_size)
        return ExitVerdict(causes[0] if causes else worst.rank, Class.HUNG, words, waits=not causes)
