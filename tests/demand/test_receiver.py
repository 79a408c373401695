"""The port that gateways report to: who is let in, and what is understood.

Holds: demand/receiver.py
"""

from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from preamar.demand.accounts import AccountBook
from preamar.demand.book import Changes, DemandBook
from preamar.demand.receiver import InternalKey, application
from preamar.protocol.demand import Carried, Load, decode

REPORT = {
    "gateway": "preamar-gateway-6d",
    "sequence": 17,
    "services": {"demo/minilm": {"queued": 3, "running": 5, "arrived": 120}},
}


BARE = {"queued": 0, "running": 0}
MANY_PODS = {f"10.0.{n // 250}.{n % 250}": {"running": 1} for n in range(1001)}


class Receiver:
    def __init__(self, directory: Path, key: str = "secret") -> None:
        self.file = directory / "internal-key"
        if key:
            self.file.write_text(f"{key}\n")
        self.heard: list[Changes] = []
        self.accounts = AccountBook()
        self.accounted: list[tuple[frozenset[str], frozenset[str]]] = []
        self.app = application(
            DemandBook(),
            InternalKey(self.file),
            self.heard.append,
            self.accounts,
            lambda *changed: self.accounted.append(changed),
        )

    async def post(
        self, body: object, key: str = "secret", raw: bytes | None = None, path: str = "/demand"
    ) -> int:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        sent = {"data": raw} if raw is not None else {"json": body}
        client = TestClient(TestServer(self.app))
        async with client, client.post(path, headers=headers, **sent) as answer:
            return answer.status


def test_everything_that_is_said_of_a_service_is_understood() -> None:
    said = {
        "queued": 3, "running": 5, "arrived": 120, "finished": 110, "busySeconds": 44.5,
        "firstTokens": 100, "firstTokenSeconds": 9, "oldestWait": 1.25,
        "pods": {"10.0.0.1": {"running": 5, "tokensLeft": 300}, "fd00::1": {"running": 0}},
    }  # fmt: skip
    (load,) = decode(REPORT | {"services": {"demo/minilm": said}}).services.values()
    pods = {"10.0.0.1": Carried(5, 300), "fd00::1": Carried(0, 0)}
    assert load == Load(3, 5, 120, 110, 44.5, 100, 9.0, 1.25, pods)


@pytest.mark.parametrize("left_out", ["arrived", "finished", "busySeconds", "oldestWait", "pods"])
def test_an_older_gateway_leaves_out_what_it_does_not_know(left_out: str) -> None:
    said = {"queued": 1, "running": 2, "arrived": 3, "oldestWait": 0.5, "finished": 7,
            "busySeconds": 1.5, "pods": {}}  # fmt: skip
    del said[left_out]
    (load,) = decode(REPORT | {"services": {"demo/minilm": said}}).services.values()
    full = Load(1, 2, 3, 7, 1.5, 0, 0.0, 0.5, {})
    field = {"busySeconds": "busy_seconds", "oldestWait": "oldest_wait"}.get(left_out, left_out)
    assert load == full._replace(**{field: Load(0, 0)._asdict()[field]})


@pytest.fixture
def receiver(tmp_path: Path) -> Receiver:
    return Receiver(tmp_path)


async def test_a_report_is_taken_and_its_change_handed_on(receiver: Receiver) -> None:
    assert await receiver.post(REPORT) == 204
    assert receiver.heard == [Changes(frozenset({"demo/minilm"}), frozenset({"demo/minilm"}))]


@pytest.mark.parametrize("key", ["", "wrong", "secre", "secrets"])
async def test_only_the_internal_key_is_let_in(receiver: Receiver, key: str) -> None:
    assert await receiver.post(REPORT, key=key) == 401
    assert not receiver.heard


async def test_without_a_key_of_our_own_nobody_is_let_in(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path, key="")
    assert await receiver.post(REPORT, key="") == 401


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"gateway": "g"},
        {"gateway": "", "sequence": 1},
        {"gateway": "g" * 300, "sequence": 1},
        {"gateway": "g", "sequence": -1},
        {"gateway": "g", "sequence": True},
        {"gateway": "g", "sequence": 1, "services": {"a/b": {"queued": 1}}},
        {"gateway": "g", "sequence": 1, "services": {"a/b": {"queued": -1, "running": 0}}},
        {"gateway": "g", "sequence": 1, "services": {"a/b": {"queued": "1", "running": 0}}},
        {"gateway": "g", "sequence": 1, "services": [1]},
        {"gateway": "g", "sequence": 1, "services": {"a/b": BARE | {"busySeconds": "1"}}},
        {"gateway": "g", "sequence": 1, "services": {"a/b": BARE | {"oldestWait": -1}}},
        {"gateway": "g", "sequence": 1, "services": {"a/b": BARE | {"oldestWait": float("nan")}}},
        {"gateway": "g", "sequence": 1, "services": {"a/b": BARE | {"oldestWait": float("inf")}}},
        {"gateway": "g", "sequence": 1, "services": {"a/b": BARE | {"finished": 1.5}}},
        {"gateway": "g", "sequence": 1, "services": {"a/b": BARE | {"pods": []}}},
        {"gateway": "g", "sequence": 1, "services": {"a/b": BARE | {"pods": {"10.0.0.1": 3}}}},
        {"gateway": "g", "sequence": 1, "services": {"a/b": BARE | {"pods": {"": {"running": 1}}}}},
        {"gateway": "g", "sequence": 1, "services": {"a/b": BARE | {"pods": MANY_PODS}}},
    ],
    ids=lambda body: str(body)[:90],
)
async def test_what_is_no_report_is_refused(receiver: Receiver, body: object) -> None:
    assert await receiver.post(body) == 400
    assert not receiver.heard


@pytest.mark.parametrize("raw", [b"", b"{", b"[" * 100_000, b"\xff\xfe"])
async def test_what_is_no_json_is_refused(receiver: Receiver, raw: bytes) -> None:
    assert await receiver.post(None, raw=raw) == 400


async def test_a_body_without_end_is_refused(receiver: Receiver) -> None:
    assert await receiver.post(None, raw=b" " * (3 * 2**20)) == 413
