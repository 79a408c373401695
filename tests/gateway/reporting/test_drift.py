"""Do the ledger and the model servers agree? Both as they are, and what may be between them.

Holds: gateway/reporting/drift.py, gateway/reporting/engine_metrics.py,
gateway/reporting/engine_scraper.py, ledger/reports/recorded.py
"""

import asyncio
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preamar.gateway.reporting import drift
from preamar.gateway.reporting.drift import compared
from preamar.gateway.reporting.engine_metrics import Counts, counts_of
from preamar.ledger.reports.recorded import Recorded, merged, recorded
from preamar.ledger.store import sqlite
from preamar.ledger.tables.usage_record import Kind, Row, State
from tests.gateway.conftest import endpoints, service, until
from tests.gateway.fake_triton import FakeTriton
from tests.gateway.test_serving import ask
from tests.hunting import examples

NOTHING = Recorded()


@pytest.fixture(autouse=True)
def in_a_moment(monkeypatch):
    monkeypatch.setattr(drift, "BEFORE_SECONDS", 0.02)
    monkeypatch.setattr(drift, "BLUR_SECONDS", 0.01)


def judged(engine, ledger, unsure=NOTHING):
    found = compared(engine, ledger, unsure, 0, 3600)
    return None if found is None else (found.unit, round(found.ratio, 4), found.drifts)


def test_equal_counts_agree_and_what_is_missing_on_either_side_is_said():
    assert judged(Counts(10, 5000), Recorded(whole=10, tokens=5000)) == ("tokens", 0, False)
    assert judged(Counts(10, 5000), Recorded(whole=9, tokens=4500)) == ("tokens", -0.1, True)
    assert judged(Counts(9, 4500), Recorded(whole=10, tokens=5000)) == ("tokens", 0.1, True)
    assert judged(Counts(0, 0), Recorded(whole=10, tokens=5000)) == ("tokens", 1, True)
    assert judged(Counts(100), Recorded(whole=100)) == ("requests", 0, False)
    assert judged(Counts(100), Recorded(whole=99)) == ("requests", -0.01, True)
    assert judged(Counts(100), Recorded(whole=90, streams=1)) is None


def test_what_was_under_way_or_cut_explains_as_much_as_it_can_have_been():
    ledger, engine = Recorded(whole=9, tokens=4500), Counts(10, 5000)
    assert judged(engine, ledger, Recorded(whole=1, tokens=500)) == ("tokens", 0, False)
    assert judged(engine, ledger, Recorded(whole=1, tokens=400)) == ("tokens", -0.02, True)
    assert judged(engine, ledger._replace(cut=1)) == ("tokens", 0, False)
    assert judged(Counts(101), Recorded(whole=100, cut=1)) == ("requests", 0, False)


def test_a_server_that_begins_anew_counts_from_nothing():
    assert Counts(10, 500).since(Counts(4, 200)) == Counts(6, 300)
    assert Counts(3, 60).since(Counts(4, 200)) == Counts(3, 60)
    assert Counts(3).since(Counts(1)) == Counts(2)


def test_what_a_server_says_is_read_for_one_model():
    text = """# HELP nv_inference_request_success x
nv_inference_request_success{model="gpt",version="1"} 7
nv_inference_request_success{model="gpt",version="2"} 1
nv_inference_request_success{model="other",version="1"} 99
preamar_model_tokens_total{model="gpt",version="1",kind="input"} 40
preamar_model_tokens_total{model="gpt",version="1",kind="output"} 2.0
"""
    assert counts_of(text, "gpt") == Counts(8, 42)
    assert counts_of(text, "other") == Counts(99)
    vllm = 'vllm:prompt_tokens_total{model_name="gpt"} 3\nvllm:generation_tokens_total{model_name="gpt"} 4\n'
    assert counts_of(vllm, "gpt") == Counts(0, 7)
    for wrong in (
        "",
        "nonsense",
        'nv_inference_request_success{model="x"} 1',
        text.replace("7", "NaN")[:90],
    ):
        with pytest.raises(ValueError):
            counts_of(wrong, "gpt")


@examples(check=25, hunt=2000)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)), max_size=12))
def test_intervals_are_merged_without_losing_or_adding_time(pairs):
    given_ = [(begin, begin + length) for begin, length in pairs]
    found = merged(given_)
    inside = {t for begin, end in given_ for t in range(begin, end + 1)}
    assert {t for begin, end in found for t in range(begin, end + 1)} == inside
    assert all(a[1] < b[0] for a, b in pairwise(found))


def slices(*ports):
    """Slices of pods whose metrics are on the same port as their model."""
    found = endpoints("gpt", *ports)
    for each in found:
        each["ports"].append({"name": "metrics", "port": each["ports"][0]["port"]})
    return found


def servers(rig):
    return rig.gateway.engines.models["gpt"].servers.values()


async def compare(rig):
    """Compares when all rows are where they count, so that nobody has to wait for that."""
    rig.gateway.home.writer.flush()
    await rig.gateway.reconciler.compare()


async def load(http, rig, count):
    answers = await asyncio.gather(*(ask(http, rig) for _ in range(count)))
    assert {status for status, _, _ in answers} == {200}


async def test_what_came_through_the_gateway_agrees_and_what_did_not_is_found(rig, http):
    reconciler = rig.gateway.reconciler
    async with FakeTriton() as a, FakeTriton() as b:
        a.answered, a.tokens = 1000, 70000  # before this gateway looked
        rig.know([service("gpt")], slices(a.port, b.port))
        await compare(rig)
        assert not reconciler.found
        await load(http, rig, 40)
        await asyncio.sleep(0.1)
        await compare(rig)
        found = reconciler.found["gpt"]
        assert (found.ledger, found.engine, found.ratio) == (280, 280, 0)
        async with http.get(rig.url + "/metrics") as answer:
            assert 'preamar_ledger_drift_ratio{model="gpt"} 0.0' in await answer.text()
        a.answered, a.tokens = a.answered + 10, a.tokens + 70  # callers of its own
        await compare(rig)
        assert reconciler.found["gpt"].ratio == pytest.approx(-70 / 350)
        async with http.get(rig.url + "/metrics") as answer:
            assert 'preamar_ledger_drift_ratio{model="gpt"} -0.2' in await answer.text()


async def test_replicas_that_come_leave_and_begin_anew_lose_nothing(rig, http):
    reconciler = rig.gateway.reconciler
    async with FakeTriton() as a:
        async with FakeTriton() as b:
            rig.know([service("gpt")], slices(a.port))
            await compare(rig)
            await load(http, rig, 10)
            rig.know(slices=slices(a.port, b.port))
            await load(http, rig, 20)
            await rig.gateway.engines.read(all_=True)
            await a.__aexit__()  # its container is started anew
            await rig.gateway.engines.read(all_=True)
            a.answered = a.tokens = 0
            await a.__aenter__()
            await load(http, rig, 60)
            rig.know(slices=slices(a.port))
            await until(lambda: [s for s in servers(rig) if s.settled])
        await until(lambda: len(servers(rig)) == 1)
        await load(http, rig, 10)
        await compare(rig)
        found = reconciler.found["gpt"]
        assert (found.ledger, found.engine, found.ratio) == (700, 700, 0)


async def test_a_server_that_died_unread_leaves_a_doubt_and_no_accusation(rig, http):
    reconciler = rig.gateway.reconciler
    async with FakeTriton() as a, FakeTriton() as b:
        rig.know([service("gpt")], slices(a.port, b.port))
        await compare(rig)
        await load(http, rig, 20)
        b.answered = b.tokens = 0  # what nobody has read is lost
        await b.__aexit__()
        rig.know(slices=slices(a.port))
        await until(lambda: len(servers(rig)) == 1)
        await compare(rig)
        found = reconciler.found["gpt"]
        assert found.engine < found.ledger
        assert found.ratio == 0


async def test_questions_for_the_sake_of_comparison_are_in_no_row_and_no_accusation(rig, http):
    reconciler, told = rig.gateway.reconciler, {"revision": "r2", "phase": "Trying", "percent": 10}
    trial = service("gpt") | {"status": {"rollout": told | {"tolerance": "0.01"}}}
    async with FakeTriton() as a:
        rig.know([service("gpt")], slices(a.port))
        await compare(rig)
        rig.know([trial])
        await rig.gateway.engines.read()
        await load(http, rig, 20)
        a.answered, a.tokens = a.answered + 10, a.tokens + 70
        await compare(rig)
        assert reconciler.found["gpt"].ratio == 0
        rig.know([service("gpt")])
        await rig.gateway.engines.read()
        await compare(rig)
        assert (reconciler.found["gpt"].ledger, reconciler.found["gpt"].ratio) == (140, 0)
        a.answered, a.tokens = a.answered + 50, a.tokens + 350  # more than there were answers
        await compare(rig)
        assert reconciler.found["gpt"].drifts


async def test_servers_that_say_nothing_are_not_compared(rig, http):
    reconciler = rig.gateway.reconciler
    async with FakeTriton() as a:
        rig.know(
            [service("gpt")], endpoints("gpt", a.port)
        )  # its metrics are where nothing listens
        await compare(rig)
        await load(http, rig, 5)
        await compare(rig)
        assert not reconciler.found


async def test_the_ledger_is_asked_for_what_ended_in_the_time(rig, http):
    async with FakeTriton() as a:
        rig.know([service("gpt")], slices(a.port))
        began = time.time()
        await load(http, rig, 3)
        await until(lambda: len(rig.rows()) == 3)
        engine = rig.gateway.engine
        assert recorded(engine, "gpt", began - 1, time.time() + 1) == Recorded(3, 0, 0, 21)
        assert recorded(engine, "gpt", time.time() + 1, time.time() + 2) == NOTHING
        assert recorded(engine, "other", began - 1, time.time() + 1) == NOTHING


def test_asking_what_a_model_is_like_is_no_inference(tmp_path):
    engine = sqlite.open_store(tmp_path / "ledger.sqlite")
    for at, endpoint in enumerate(("/v2/metadata", "grpc/ModelMetadata", "grpc/ModelInfer")):
        row = Row(f"r{at}", "t", "k", "net", endpoint, Kind.COMPLETIONS, 0, 0, 200, State.DONE, "i", 5000, 5000)  # fmt: skip
        sqlite.write(engine, [row])
    assert recorded(engine, "net", 0, 10) == Recorded(1, 0, 0, 0)
    engine.dispose()
