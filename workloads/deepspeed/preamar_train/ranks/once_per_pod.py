"""Long work before the first step, done by one rank of each pod while all ranks stay in touch.

An exchange between ranks has to end within minutes, and copying a data set may take hours. So the
work runs in a thread and the ranks tell each other every few seconds whether theirs is done.
"""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from preamar_train.failures import Class, TrainerFailure, classify

if TYPE_CHECKING:
    from preamar_train.ranks.gang import RankGroup

DATA_SECONDS = 24 * 3600.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
_LONGER = 1.2
# From one pause to the next, so that ranks lose at most a fifth of what the work takes.


def once_a_pod(
    gang: "RankGroup",
    work: Callable[[], object],
    alive: Callable[[], None],
    limit: float = DATA_SECONDS,
) -> None:
    """Runs the work in the first rank of each pod; returns, or raises its failure, in all ranks."""
    failed: list[TrainerFailure] = []

    def act() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - the others must hear of any
            failed.append(classify(error))

    thread = threading.Thread(target=act, daemon=True, name="data") if not gang.local_rank else None
    if thread:
        thread.start()
    deadline, pause = time.monotonic() + limit, _FIRST_PAUSE
    while True:
        begun = time.monotonic()
        if thread:
            thread.join(pause)
        busy = thread is not None and thread.is_alive()
        if busy and time.monotonic() > deadline:
            failed.append(
                TrainerFailure(
                    Class.UNKNOWN, f"The data was not ready within {limit / 3600:.0f} hours."
                )
            )
        told = failed[0] if failed else None
        heard = gang.hear((busy, told and (told.kind.value, told.sentence)))
        for _, words in heard:
            if words:
                raise TrainerFailure(Class(words[0]), words[1])
        if not any(each for each, _ in heard):
            return
        alive()
        time.sleep(max(0.0, pause - (time.monotonic() - begun)))
        pause = min(_LONGER * pause, _LONGEST_PAUSE)
