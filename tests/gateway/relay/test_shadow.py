"""What a revision on trial answers is asked of the one before as well, at nobody's cost.

Holds: gateway/relay/shadow.py, gateway/relay/tensors.py, gateway/wire/compression.py
"""

import asyncio
import contextlib
import gzip
import json
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import serialize_byte_tensor

from preamar.gateway.relay import shadow, tensors
from preamar.gateway.wire import compression
from preamar.protocol.answer_distance import Tensor
from tests.gateway.conftest import load, until
from tests.gateway.fake_triton import FakeTriton
from tests.gateway.routing.test_canary_stats import line, slices, trying
from tests.gateway.routing.test_routing import vector
from tests.hunting import examples

FLOATS = [0.5, -1.25, 3.0]
KINDS = {
    "BOOL": "?", "INT8": "i1", "UINT8": "u1", "INT16": "<i2", "UINT16": "<u2", "INT32": "<i4",
    "UINT32": "<u4", "INT64": "<i8", "UINT64": "<u8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip


@pytest.fixture(autouse=True)
def in_a_moment(monkeypatch):
    monkeypatch.setattr(shadow, "LEAST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(shadow, "PAUSES", 0)


def compared(percent=100, tolerance="0.01", task="Embed"):
    body = trying(percent)
    body["status"]["rollout"]["tolerance"] = tolerance
    body["spec"]["model"]["task"] = task
    return body


async def quiet(rig):
    """Nothing is being compared, nor is about to be: an answer is offered after its caller has it."""
    await until(lambda: not rig.gateway.health.active and not rig.gateway.comparer._tasks)


async def ask(http, rig, count, text="a text of some length"):
    for n in range(count):
        assert (await vector(http, rig, f"{text} {n}"))[0] == 200
        await quiet(rig)


def told(rig):
    return load(line(rig))["trial"].get("apart", [0, 0, []])


async def infer(http, rig, body, **headers):
    url = rig.url + "/v2/models/minilm/infer"
    async with http.post(url, data=body, headers=rig.auth | headers) as answer:
        await answer.read()
        assert answer.status == 200


def tensor(*texts, **more):
    given = {"name": "x", "datatype": "BYTES", "shape": [len(texts)], "data": list(texts)}
    return json.dumps({"inputs": [given]} | more)


async def test_every_other_answer_is_compared_and_how_far_both_are_apart_is_told(rig, http):
    async with FakeTriton() as old, FakeTriton() as new:
        new.bend = 1.0
        rig.know([compared()], slices(old, new))
        await ask(http, rig, 8)
        count, total, bets = told(rig)
        assert count == 4
        vectors = [np.array([len(f"a text of some length {n}"), 0.5, -1.0]) for n in (1, 3, 5, 7)]
        bent = [v + np.array([0, 1.0, 0]) for v in vectors]
        exact = [1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)
                 for a, b in zip(vectors, bent, strict=True)]  # fmt: skip
        assert total == pytest.approx(sum(exact) / 0.01, rel=1e-3)
        assert len(bets) == 2


async def test_it_is_nobodys_request(rig, http):
    async with FakeTriton() as old, FakeTriton() as new:
        rig.know([compared()], slices(old, new))
        await ask(http, rig, 9)
        assert (len(new.requests), len(old.requests), told(rig)[0]) == (9, 4, 4)
        assert len(rig.rows()) == 9
        said = load(line(rig))
        assert (said["arrived"], said["finished"], said["running"]) == (9, 9, 0)
        assert said["trial"]["old"][0] == 0
        assert said["trial"]["new"][0] == 9


async def test_nobody_waits_for_a_comparison_and_there_is_one_at_a_time(rig, http):
    async with FakeTriton() as old, FakeTriton() as new:
        old.gate.clear()
        rig.know([compared()], slices(old, new))
        for n in range(20):
            assert (await vector(http, rig, f"text {n}"))[0] == 200
        assert len(old.requests) == 1
        assert line(rig).running == 0
        old.gate.set()
        await quiet(rig)
        assert told(rig)[0] == 1


async def test_it_is_rare(rig, http, monkeypatch):
    monkeypatch.setattr(shadow, "LEAST_PAUSE_SECONDS", 60.0)
    async with FakeTriton() as old, FakeTriton() as new:
        rig.know([compared()], slices(old, new))
        await ask(http, rig, 20)
        assert told(rig)[0] == len(old.requests) == 1


async def test_a_comparison_that_hangs_ends_and_is_dropped(rig, http, monkeypatch):
    monkeypatch.setattr(shadow, "COMPARED_SECONDS", 0.1)
    async with FakeTriton() as old, FakeTriton() as new:
        old.gate.clear()
        rig.know([compared()], slices(old, new))
        await ask(http, rig, 5)
        assert told(rig)[0] == 0
        old.gate.set()
        await ask(http, rig, 5)
        assert told(rig)[0] > 0


@pytest.mark.parametrize("task", ["Embed", "Infer"])
async def test_without_a_tolerance_nothing_is_compared(task, rig, http):
    async with FakeTriton() as old, FakeTriton() as new:
        for tolerance in (None, "0", "-1", "much", []):
            rig.know([compared(tolerance=tolerance)], slices(old, new))
            await ask(http, rig, 5)
        assert old.requests == []


async def test_answers_of_the_revision_before_are_not_compared(rig, http):
    async with FakeTriton() as old, FakeTriton() as new:
        rig.know([compared(percent=0)], slices(old, new))
        await ask(http, rig, 8)
        assert (len(old.requests), len(new.requests), told(rig)[0]) == (8, 0, 0)
        rig.know([compared()], slices(old, new))
        line(rig).tried.next_at = float("inf")
        await ask(http, rig, 4)
        rig.know([compared(percent=0)], slices(old, new))
        line(rig).tried.next_at = 0.0  # one is due, and the next answer is another's
        await ask(http, rig, 4)
        assert (len(old.requests), len(new.requests), told(rig)[0]) == (12, 4, 0)


async def test_nothing_is_asked_where_the_one_before_is_not_there_or_has_much_to_do(rig, http):
    async with FakeTriton() as old, FakeTriton() as new:
        rig.know([compared()], slices(old, new)[1:])
        await ask(http, rig, 8)
        rig.know([compared()], slices(old, new))
        busy = next(r for r in line(rig).replicas.values() if not r.address.canary)
        busy.in_flight = line(rig).model.room // 2
        await ask(http, rig, 8)
        assert old.requests == []
        busy.in_flight -= 1
        await ask(http, rig, 8)
        assert len(old.requests) > 0
        busy.in_flight = 0


async def test_nothing_is_asked_while_somebody_waits(rig, http):
    async with FakeTriton() as old, FakeTriton() as new:
        rig.know([compared()], slices(old, new))
        line(rig)._between = 1
        await ask(http, rig, 8)
        assert old.requests == []
        line(rig)._between = 0
        await ask(http, rig, 8)
        assert len(old.requests) > 0


async def test_a_model_that_differs_from_itself_tells_nothing(rig, http):
    async with FakeTriton() as old, FakeTriton() as new:
        old.bend, old.wavers, new.bend = 5.0, True, 100.0
        rig.know([compared()], slices(old, new))
        await ask(http, rig, 8)
        assert len(old.requests) == 8  # each of four twice
        assert told(rig)[0] == 0


async def test_what_the_one_before_fails_on_is_dropped(rig, http):
    async with FakeTriton() as old, FakeTriton() as new:
        old.status = 500
        rig.know([compared()], slices(old, new))
        await ask(http, rig, 8)
        assert len(old.requests) == 4
        assert told(rig)[0] == 0
        asked = next(r for r in line(rig).replicas.values() if not r.address.canary)
        assert (asked.errors, asked.misses, asked.ejected_until) == (0, 0, 0.0)


@pytest.mark.parametrize("packing", ["", "gzip", "deflate"])
async def test_tensors_are_compared_as_they_came(packing, rig, http):
    async with FakeTriton() as old, FakeTriton() as new:
        new.bend, old.packs, new.packs = 0.001, bool(packing), bool(packing)
        about = {"Content-Type": "application/json", "Accept-Encoding": packing}
        rig.know([compared(task="Infer")], slices(old, new))
        for n in range(6):
            await infer(http, rig, tensor("one", f"two {n}"), **about)
            await quiet(rig)
        assert told(rig)[0] == 2
        assert 0 < told(rig)[1] < 2
        theirs, ours = new.requests[2], old.requests[0]
        assert (theirs[0], theirs[2]) == (ours[0], ours[2])
        assert ours[1]["Content-Type"] == "application/json"
        assert len(rig.rows()) == 6


@pytest.mark.parametrize("kind", ["large question", "large answer", "sequence", "no tensors"])
async def test_what_is_large_or_not_alone_or_not_understood_is_dropped(
    kind, rig, http, monkeypatch
):
    async with FakeTriton() as old, FakeTriton() as new:
        rig.know([compared(task="Infer")], slices(old, new))
        body = tensor("one", "two")
        if kind == "large question":
            monkeypatch.setattr(shadow, "MOST_ASKED", len(body) - 1)
        elif kind == "large answer":
            monkeypatch.setattr(shadow, "MOST_ANSWERED", 100)
        elif kind == "sequence":
            body = tensor("one", "two", parameters={"sequence_id": 7})
        else:
            old.answer = new.answer = (b'{"outputs": [{"name": "y"}]}', b"")
        for _ in range(6):
            await infer(http, rig, body)
            await quiet(rig)
        assert told(rig)[0] == 0
        assert old.requests == []


async def test_a_gateway_that_stops_asks_nothing_more(rig, http):
    async with FakeTriton() as old, FakeTriton() as new:
        old.gate.clear()
        rig.know([compared()], slices(old, new))
        for n in range(3):
            await vector(http, rig, f"text {n}")
        await until(lambda: len(old.requests) == 1)
        async with asyncio.timeout(30):
            await rig.gateway.comparer.close()
        assert not rig.gateway.comparer._tasks
        old.gate.set()


def test_what_unpacks_to_more_than_is_compared_is_dropped():
    small, large = (zlib.compress(bytes(size)) for size in (1 << 18, (1 << 18) + 1))
    assert compression.unpacked(small, shadow.MOST_ANSWERED) == bytes(1 << 18)
    assert compression.unpacked(gzip.compress(b"x"), shadow.MOST_ANSWERED) == b"x"
    for bad in (large, small[:-1], b"", b"nothing packed"):
        with pytest.raises(ValueError, match="it"):
            compression.unpacked(bad, shadow.MOST_ANSWERED)


@examples(check=25, hunt=2000)
@given(st.sampled_from(sorted(KINDS)), st.lists(st.integers(0, 1), max_size=6))
def test_tensors_of_every_kind_are_read_from_json_and_raw(kind, values):
    array = np.array(values, KINDS[kind]).reshape(-1, 1)
    shape, raw = list(array.shape), array.tobytes()
    about = {"name": "y", "datatype": kind, "shape": shape}
    head = json.dumps(
        {"outputs": [about | {"parameters": {"binary_data_size": len(raw)}},
                     about | {"name": "z", "data": array.tolist()}]}
    ).encode()  # fmt: skip
    found = tensors.of_http(head + raw, len(head))
    for name in ("y", "z"):
        assert found[name] == Tensor(tuple(shape), found[name].values, kind.startswith("FP"))
        assert list(found[name].values) == values
    output = pb.ModelInferResponse.InferOutputTensor(name="y", datatype=kind, shape=shape)
    answer = pb.ModelInferResponse(model_name="m", outputs=[output], raw_output_contents=[raw])
    found = tensors.of_grpc(answer.SerializeToString())
    assert (found["y"].shape, list(found["y"].values)) == (tuple(shape), values)


def test_texts_and_halves_of_floats_are_read():
    texts = np.array([b"one", b"", "zwölf".encode()], np.object_)
    raw = serialize_byte_tensor(texts).item()
    halves = b"".join(struct.pack("<f", each)[2:] for each in FLOATS)
    outputs = [("s", "BYTES", raw), ("h", "BF16", halves)]
    told = [
        {"name": n, "datatype": kind, "shape": [3], "parameters": {"binary_data_size": len(data)}}
        for n, kind, data in outputs
    ]
    head = json.dumps({"outputs": told}).encode()
    found = tensors.of_http(head + raw + halves, len(head))
    assert list(found["s"].values) == list(texts)
    assert (list(found["h"].values), found["h"].floats) == (FLOATS, True)


@examples(check=25, hunt=2000)
@given(st.binary(max_size=60), st.none() | st.integers(0, 60))
def test_what_is_no_answer_is_said_to_be_none(data, head):
    for read in (lambda: tensors.of_http(data, head), lambda: tensors.of_grpc(data)):
        with contextlib.suppress(ValueError):
            assert isinstance(read(), dict)


@pytest.mark.parametrize(
    "output",
    [
        {}, 7, {"name": "y"}, {"name": "y", "datatype": "FP32", "shape": [2], "data": [1]},
        {"name": "y", "datatype": "FP32", "shape": [1], "data": ["x"]},
        {"name": "y", "datatype": "FP32", "shape": 1, "data": [1]},
        {"name": "y", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}},
        {"name": "y", "datatype": "X", "shape": [0], "parameters": {"binary_data_size": 0}},
        {"name": "y", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": "4"}},
    ],
)  # fmt: skip
def test_nor_is_what_lacks_a_part(output):
    with pytest.raises(ValueError):
        tensors.of_http(json.dumps({"outputs": [output]}).encode(), None)
