"""One rank from start to end: how it begins, and how its end is told to the agent.

The agent gets a result or a failure by file; the exit code alone would say too little.
"""

import faulthandler
import os
import signal
import sys
import traceback

from preamar_train.failures import FAILED, classify
from preamar_train.reports import rank_state
from preamar_train.stop import Stop


def run_rank() -> int:
    rank = int(os.environ["RANK"])
    stop = Stop()
    faulthandler.enable()
    told = rank_state.of_rank(rank)
    told.parent.mkdir(parents=True, exist_ok=True)
    stacks = told.with_suffix(".stack").open("w")  # kept open: the signal may come at any time
    faulthandler.register(signal.SIGUSR1, file=stacks, all_threads=True)
    code = FAILED
    try:
        from preamar_train.trainer import train

        code = train(stop, told)
    except BaseException as error:  # noqa: BLE001 - whatever ends a rank must be told
        failure = classify(error)
        traceback.print_exc()
        print(f"failed: {failure.kind}: {failure.sentence}", flush=True)
        words = {**rank_state.read(told), "state": "Failed"}
        words["failure"] = {"class": failure.kind.value, "explanation": failure.sentence}
        rank_state.write(told, words)
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of torch may wait for peers that are gone; a normal exit would wait for them.
    os._exit(code)
