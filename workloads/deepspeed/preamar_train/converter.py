"""The life of a converter's pod: convert the newest checkpoint, leave the last words, exit.
Who waits for its end hears of it on the agents' port (`GET /ended`).

Exit 0: every size can load it. 64: another try would end alike. Else: worth another try.
"""

import os
import signal
import sys
import time
import traceback
from pathlib import Path

from preamar_train.agent import message
from preamar_train.agent.leaving import Leaving
from preamar_train.agent.progress import serve
from preamar_train.agent.settings import message_path
from preamar_train.agent.stopping import Stopping
from preamar_train.failures import DONE, FAILED, Class, classify
from preamar_train.reports import rank_state
from preamar_train.request import volume

FINAL = 64
ENDS_ALIKE = {Class.NOT_CONVERTED, Class.CONFIG_ERROR}


def run_converter() -> int:
    # PID 1 has no default for signals: without this a deleted pod would hold on for its grace.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    begun, told, leaving = time.monotonic(), {}, Leaving()
    port = os.environ.get("PREAMAR_AGENT_PORT", "0")
    if port.isdecimal() and int(port):
        serve(rank_state.of_rank(0), int(port), Stopping("", lambda: None), leaving)
    try:
        place = volume(os.environ.get("PREAMAR_TRAIN", ""))
        from preamar_train.checkpoint.convert import convert
        from preamar_train.checkpoint.save import told as checkpoint
        from preamar_train.checkpoint.store import Store

        imported = time.monotonic()
        found = convert(Store(Path(place.checkpoint.path), place.uid, place.attempt))
    except Exception as error:  # noqa: BLE001 - also the unforeseen is told
        failure = classify(error)
        traceback.print_exc()
        print(f"failed: {failure.kind}: {failure.sentence}", file=sys.stderr, flush=True)
        words = message.compose(
            "Failed", 0, told, kind=failure.kind.value, explanation=failure.sentence
        )
        message.write(message_path(os.environ), words)
        return FINAL if failure.kind in ENDS_ALIKE else FAILED
    told = {
        "step": found.step,
        "consumed": found.consumed,
        "checkpoint": checkpoint(found, place.checkpoint.uri),
    }
    print(
        f"step {found.step} can be loaded at any size: imports {imported - begun:.2f} s, "
        f"conversion {time.monotonic() - imported:.2f} s",
        flush=True,
    )
    message.write(message_path(os.environ), message.compose("Converted", 0, told))
    leaving.ended(DONE)
    return DONE
