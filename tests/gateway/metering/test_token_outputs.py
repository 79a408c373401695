"""Whatever a caller of KServe v2 asks for and however it is packed, the ledger has its tokens.

Holds: gateway/metering/grpc_counts.py, gateway/metering/token_outputs.py,
gateway/metering/tokens.py
"""

import gzip
import json
import struct
import zlib
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from preamar.gateway.errors import Problem
from preamar.gateway.metering import grpc_counts, tokens
from preamar.gateway.metering.token_outputs import TensorRequest, over_grpc, over_http
from preamar.gateway.wire.http1 import Head
from tests.gateway.conftest import endpoints, service
from tests.gateway.fake_triton import FakeTriton
from tests.hunting import examples

MOST = 1 << 20
TOLD = ("INPUT_TOKENS", "OUTPUT_TOKENS", "FINISH_REASON")


def asked(*outputs, **more):
    return json.dumps({"inputs": [], "outputs": list(outputs), **more}).encode()


def names(body):
    return [o["name"] for o in json.loads(body).get("outputs", ())]


def test_what_a_request_is_charged_by_is_asked_for_too():
    found = over_http("Embed", TensorRequest(asked({"name": "EMBEDDING"}), None), "", MOST)
    assert names(found.body) == ["EMBEDDING", "INPUT_TOKENS"]
    found = over_http("Generate", TensorRequest(asked({"name": "TEXT"}), None), "", MOST)
    assert names(found.body) == ["TEXT", *TOLD]


@pytest.mark.parametrize(
    "body",
    [asked(), b'{"inputs": []}', asked({"name": "INPUT_TOKENS"}), b"no json", b'{"outputs": 7}'],
)
def test_what_asks_for_it_or_for_all_goes_on_as_it_came(body):
    assert over_http("Embed", TensorRequest(body, None), "", MOST) == TensorRequest(body, None)


def test_other_tasks_are_not_looked_at():
    body = gzip.compress(asked({"name": "y"}))
    assert over_http("Infer", TensorRequest(body, None), "gzip", MOST) == TensorRequest(body, None)


def test_raw_tensors_stay_behind_a_head_of_another_length():
    head = asked({"name": "EMBEDDING", "parameters": {"binary_data": True}})
    found = over_http("Embed", TensorRequest(head + b"\0\1raw", len(head)), "", MOST)
    assert found.body[found.head :] == b"\0\1raw"
    assert names(found.body[: found.head]) == ["EMBEDDING", "INPUT_TOKENS"]


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_packed_requests_are_looked_into_within_bounds(pack):
    found = over_http(
        "Embed", TensorRequest(pack(asked({"name": "EMBEDDING"})), None), "gzip", MOST
    )
    assert names(found.body) == ["EMBEDDING", "INPUT_TOKENS"]
    for body, status in ((pack(b" " * (MOST + 1)), 413), (pack(asked())[:-9], 400), (b"x", 400)):
        with pytest.raises(Problem) as problem:
            over_http("Embed", TensorRequest(body, None), "gzip", MOST)
        assert problem.value.status == status


@pytest.mark.parametrize(
    "body",
    [
        b'{"outputs": [{"name": "EMBEDDING"}], "outputs": [{"name": "INPUT_TOKENS"}]}',
        b'{"outputs": [{"name": "EMBEDDING", "name": "INPUT_TOKENS"}]}',
        b'{"\\u006futputs": [{"name": "EMBEDDING"}]}',
    ],
    ids=["outputs twice", "a name twice", "in escapes"],
)
def test_readers_that_differ_are_given_one_reading(body):
    found = over_http("Embed", TensorRequest(body, None), "", MOST)
    assert found.changed
    assert "INPUT_TOKENS" in names(found.body)
    pairs = []
    json.loads(found.body, object_pairs_hook=lambda p: pairs.append([k for k, _ in p]) or dict(p))
    assert all(len(keys) == len(set(keys)) for keys in pairs)


def test_counts_are_numbers_and_no_classification():
    shaped = {"name": "INPUT_TOKENS", "parameters": {"classification": 1}}
    with pytest.raises(Problem, match="classification"):
        over_http("Embed", TensorRequest(asked(shaped), None), "", MOST)
    request = pb.ModelInferRequest(outputs=[{"name": "INPUT_TOKENS"}])
    request.outputs[0].parameters["classification"].int64_param = 1
    with pytest.raises(Problem, match="classification"):
        over_grpc("Embed", request.SerializeToString())


@examples(check=25, hunt=2000)
@given(st.lists(st.sampled_from(["EMBEDDING", *TOLD]), max_size=4), st.sampled_from(["Embed", "Generate", "Infer"]))  # fmt: skip
def test_over_grpc_as_over_http(wanted, task):
    request = pb.ModelInferRequest(model_name="m", outputs=[{"name": n} for n in wanted])
    found = pb.ModelInferRequest.FromString(over_grpc(task, request.SerializeToString()))
    body = over_http(
        task, TensorRequest(asked(*({"name": n} for n in wanted)), None), "", MOST
    ).body
    assert [o.name for o in found.outputs] == names(body)
    assert found.model_name == "m"


def test_of_a_name_that_stands_twice_the_last_counts_as_for_protobuf():
    from preamar.gateway.wire.protobuf import message

    output = message(1, b"INPUT_TOKENS") + message(1, b"EMBEDDING")
    found = pb.ModelInferRequest.FromString(over_grpc("Embed", message(6, output)))
    assert [o.name for o in found.outputs] == ["EMBEDDING", "INPUT_TOKENS"]


@examples(check=25, hunt=2000)
@given(st.binary(max_size=60))
def test_no_bytes_break_it(data):
    try:
        assert over_grpc("Embed", data).startswith(data)
        over_http("Embed", TensorRequest(data, None), "", MOST)
    except Problem:
        pass


def read(head, body, pieces):
    call = SimpleNamespace(input_tokens=0, output_tokens=0)
    reader = tokens.reader(Head(200, tuple(head.items()), True))
    for at in range(0, len(body), pieces):
        reader.feed(body[at : at + pieces])
    reader.tell(call)
    return call.input_tokens, call.output_tokens


def tensor(name, values, **more):
    return {"name": name, "datatype": "INT32", "shape": [len(values), 1], "data": values, **more}


@pytest.mark.parametrize("packed", [None, gzip.compress, zlib.compress])
@pytest.mark.parametrize("rows", [1, 40_000])
@pytest.mark.parametrize("pieces", [7_919, 1 << 30])
def test_tokens_are_read_however_an_answer_comes(packed, rows, pieces):
    floats = [0.125] * rows * 9
    outputs = [
        tensor("EMBEDDING", floats),
        tensor("INPUT_TOKENS", [5, 6]),
        tensor("OUTPUT_TOKENS", [7]),
    ]
    body = json.dumps({"outputs": outputs}).encode()
    assert (len(body) > tokens.MAX_HEAD) == (rows > 1)
    head = {b"content-encoding": b"gzip"} if packed else {}
    assert read(head, packed(body) if packed else body, pieces) == (11, 7)


@pytest.mark.parametrize("rows", [1, 60_000])
def test_tokens_are_read_from_answers_to_generate(rows):
    told = {"EMBEDDING": [0.125] * rows * 9, "INPUT_TOKENS": [5, 6], "OUTPUT_TOKENS": 7}
    assert read({}, json.dumps(told).encode(), 9_999) == (11, 7)


@pytest.mark.parametrize("packed", [None, gzip.compress])
@examples(check=25, hunt=2000)
@given(counts=st.lists(st.integers(0, 9), min_size=1, max_size=5), pieces=st.integers(1, 90))
def test_tokens_are_read_from_raw_tensors_in_any_pieces(packed, counts, pieces):
    raw = struct.pack(f"<{len(counts)}i", *counts)
    outputs = [
        {"name": "EMBEDDING", "parameters": {"binary_data_size": 64}},
        {"name": "INPUT_TOKENS", "parameters": {"binary_data_size": len(raw)}},
        tensor("OUTPUT_TOKENS", [3]),
    ]
    head = json.dumps({"outputs": outputs}).encode()
    told = {b"inference-header-content-length": str(len(head)).encode()}
    body = head + b"\7" * 64 + raw + b"after"
    if packed:
        told[b"content-encoding"], body = b"gzip", packed(body)
    assert read(told, body, pieces) == (sum(counts), 3)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"outputs": [{"name": 3}]}', b"\x1f\x8bnonsense"]
)
def test_what_tells_of_no_tokens_counts_as_none(body):
    assert read({}, body, 3) == (0, 0)
    assert read({b"content-encoding": b"gzip"}, body, 3) == (0, 0)
    assert read({b"inference-header-content-length": b"9"}, body, 3) == (0, 0)


@pytest.mark.parametrize("accept", ["gzip", "identity"])
async def test_the_ledger_has_the_tokens_of_who_asks_for_the_embedding_alone(rig, http, accept):
    async with FakeTriton() as fake:
        fake.packs = True
        rig.know([service("net", "Embed")], endpoints("net", fake.port))
        body = asked(
            {"name": "EMBEDDING"}, inputs=[{"name": "TEXT", "data": ["four words of text"]}]
        )
        packed = gzip.compress(body)
        headers = rig.auth | {"Accept-Encoding": accept, "Content-Encoding": "gzip"}
        async with http.post(f"{rig.url}/v2/models/net/infer", data=packed, headers=headers) as got:
            assert got.status == 200
            assert got.headers.get("Content-Encoding", "identity") == accept
        _, passed, heard = fake.requests[0]
        assert names(heard) == ["EMBEDDING", "INPUT_TOKENS"]
        assert "Content-Encoding" not in passed
        (row,) = rig.rows()
        assert (row.status, row.input_tokens) == (200, 4)


class Streamed(SimpleNamespace):
    """A call, as far as a stream counts in it."""

    def __init__(self):
        super().__init__(input_tokens=0, output_tokens=0)

    def first_token(self):
        pass

    mark = first_token


def answer(name, given, made, finish=""):
    told = {"INPUT_TOKENS": struct.pack("<i", given), "OUTPUT_TOKENS": struct.pack("<i", made)}
    told["FINISH_REASON"] = struct.pack("<I", len(finish)) + finish.encode()
    outputs = [{"name": n} for n in told]
    found = pb.ModelInferResponse(id=name, outputs=outputs, raw_output_contents=list(told.values()))
    return pb.ModelStreamInferResponse(infer_response=found)


@examples(check=25, hunt=2000)
@given(st.data())
def test_requests_of_a_stream_are_told_apart_in_whatever_order_they_are_answered(data):
    texts = data.draw(st.lists(st.tuples(st.sampled_from(["", "a", "b"]), st.integers(1, 4)), max_size=5))  # fmt: skip
    call = Streamed()
    counted, ours = grpc_counts.GrpcCounts(call, "Generate"), []
    for theirs, _ in texts:
        counted.heard(9)
        request = pb.ModelInferRequest.FromString(
            counted.named(pb.ModelInferRequest(id=theirs, model_name="m").SerializeToString())
        )
        ours.append(request.id)
    assert len(set(ours)) == len(ours)
    told = [[(at, n) for n in range(1, most + 1)] for at, (_, most) in enumerate(texts)]
    latest = {}
    while any(told):
        at, made = data.draw(st.sampled_from([t for t in told if t])).pop(0)
        latest[at] = made
        message = answer(ours[at], 5, made, "stop" if made == texts[at][1] else "")
        inner = message.infer_response.SerializeToString()
        passed = counted.answered(message.SerializeToString(), inner)
        back = pb.ModelStreamInferResponse.FromString(passed).infer_response
        assert back.id == texts[at][0]
        assert [o.name for o in back.outputs] == list(TOLD)
        assert (call.input_tokens, call.output_tokens) == (5 * len(latest), sum(latest.values()))
    assert not counted._open
    assert not counted._theirs


def test_each_answer_of_an_encoder_counts():
    call = Streamed()
    counted = grpc_counts.GrpcCounts(call, "Embed")
    for n in range(3):
        counted.heard(9)
        assert counted.named(b"\1" * n) == b"\1" * n
        message = answer("", 5, 0)
        inner = message.infer_response.SerializeToString()
        assert counted.answered(b"as it came", inner) == b"as it came"
    assert (call.input_tokens, call.output_tokens) == (15, 0)


def test_a_stream_of_texts_that_never_end_is_counted_within_bounds(monkeypatch):
    monkeypatch.setattr(grpc_counts, "MOST_OPEN", 3)
    call = Streamed()
    counted = grpc_counts.GrpcCounts(call, "Generate")
    for _ in range(9):
        counted.heard(9)
        name = pb.ModelInferRequest.FromString(counted.named(b"")).id
        message = answer(name, 5, 2)
        counted.answered(message.SerializeToString(), message.infer_response.SerializeToString())
    assert (call.input_tokens, call.output_tokens) == (45, 18)
    assert len(counted._open) <= 4


@examples(check=25, hunt=2000)
@given(st.binary(max_size=60))
def test_no_bytes_of_a_stream_break_it(data):
    counted = grpc_counts.GrpcCounts(Streamed(), "Generate")
    counted.heard(len(data))
    assert counted.named(data).startswith(data)
    assert counted.answered(data, data) == data or data
