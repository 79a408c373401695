"""The port that gateways report to: who is let in, and what is understood."""

from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from preamar.demand.book import Changes, DemandBook
from preamar.demand.receiver import InternalKey, application

REPORT = {
    "gateway": "preamar-gateway-6d",
    "sequence": 17,
    "services": {"demo/minilm": {"queued": 3, "running": 5, "arrived": 120}},
}


class Receiver:
    def __init__(self, directory: Path, key: str = "secret") -> None:
        self.file = directory / "internal-key"
        if key:
            self.file.write_text(f"{key}\n")
        self.heard: list[Changes] = []
        self.app = application(DemandBook(), InternalKey(self.file), self.heard.append)

    async def post(self, body: object, key: str = "secret", raw: bytes | None = None) -> int:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        sent = {"data": raw} if raw is not None else {"json": body}
        client = TestClient(TestServer(self.app))
        async with client, client.post("/demand", headers=headers, **sent) as answer:
            return answer.status


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
    ],
    ids=str,
)
async def test_what_is_no_report_is_refused(receiver: Receiver, body: object) -> None:
    assert await receiver.post(body) == 400
    assert not receiver.heard


@pytest.mark.parametrize("raw", [b"", b"{", b"[" * 100_000, b"\xff\xfe"])
async def test_what_is_no_json_is_refused(receiver: Receiver, raw: bytes) -> None:
    assert await receiver.post(None, raw=raw) == 400


async def test_a_body_without_end_is_refused(receiver: Receiver) -> None:
    assert await receiver.post(None, raw=b" " * (3 * 2**20)) == 413
