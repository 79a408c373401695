"""Who waits for the end of a pod hears of it at once, and delays it by half a second at most.

Holds: preamar_train/agent/leaving.py, preamar_train/agent/lookup.py,
preamar_train/agent/progress.py
"""

import json
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from preamar_train.agent import leaving as module
from preamar_train.agent.leaving import Leaving
from preamar_train.agent.lookup import own_address
from preamar_train.agent.progress import serve
from preamar_train.agent.stopping import Stopping


def asked(leaving: Leaving | None, tmp_path: Path):
    server = serve(tmp_path / "state", 0, Stopping("", lambda: None), leaving, host="127.0.0.1")
    assert server is not None

    def ask():
        with urllib.request.urlopen(
            f"http://127.0.0.1:{server.server_port}/ended", timeout=10
        ) as a:
            return json.load(a)["ended"]

    return ask


def test_who_waits_is_answered_before_the_pod_leaves(tmp_path):
    leaving, heard = Leaving(), []
    ask = asked(leaving, tmp_path)
    waiting = threading.Thread(target=lambda: heard.append(ask()))
    waiting.start()
    while not leaving._waiting:
        time.sleep(0.01)
    leaving.ended(75)
    waiting.join(60)
    assert heard == [75]
    assert ask() == 75


def test_a_pod_that_nobody_asks_leaves_at_once_and_one_that_hangs_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(module, "ANSWERED_SECONDS", 3600)
    assert left(Leaving(), 60)
    leaving = Leaving()
    leaving.begin()  # and never takes its answer
    assert not left(leaving, 0.05)
    leaving.answered()
    again = Leaving()
    again.begin()
    monkeypatch.setattr(module, "ANSWERED_SECONDS", 0.05)
    assert left(again, 60)


def left(leaving: Leaving, seconds: float) -> bool:
    """Whether it is let go before so many seconds are over."""
    thread = threading.Thread(target=leaving.ended, args=(0,), daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def test_without_an_end_the_answer_says_so_and_too_many_waiters_are_sent_away(
    tmp_path, monkeypatch
):
    leaving = Leaving()
    assert json.loads(leaving.answer(0.01)) == {"ended": None}
    for _ in range(module.MOST_WAITING):
        assert leaving.begin()
    with pytest.raises(urllib.error.HTTPError, match="503"):
        asked(leaving, tmp_path)()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        asked(None, tmp_path)()


def test_rank_0_finds_itself_without_a_dns_server():
    def hosts(name, *_, **__):
        assert name == "gpt-1-0"
        return [(0, 0, 0, "", ("10.1.2.3", 0))]

    assert own_address("gpt-1-0.gpt-ranks", lambda: "gpt-1-0", hosts) == "10.1.2.3"
    assert own_address("gpt-1-0.gpt-ranks", lambda: "gpt-1-1", hosts) is None

    def nothing(*_, **__):
        raise OSError

    assert own_address("gpt-1-0.gpt-ranks", lambda: "gpt-1-0", nothing) is None
