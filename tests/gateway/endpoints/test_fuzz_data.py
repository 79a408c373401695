"""The data port against headers and bodies that nobody sends on purpose: each gets an answer that a
client understands, none is the gateway's own failure, and nothing is left behind.

Holds: gateway/endpoints/http.py, gateway/endpoints/http_context.py, gateway/endpoints/kserve.py
"""

import asyncio
import contextlib
import json
import string
import threading
from contextlib import AsyncExitStack

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st
from sqlalchemy import event

from tests.gateway.conftest import endpoints, running_gateway, service
from tests.gateway.fake_triton import FakeTriton
from tests.hunting import examples

PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v2/models/gpt/infer",
         "/v2/models/gpt/generate_stream", "/v2/models/vec/infer", "/v1/models")  # fmt: skip
NAMES = ("Authorization", "Content-Type", "Content-Encoding", "Accept-Encoding", "x-request-timeout",
         "Inference-Header-Content-Length", "Expect", "Transfer-Encoding", "Content-Length",
         "Connection", "Upgrade", "X-Forwarded-For", "Range", "Cookie")  # fmt: skip
TEXTS = st.text(max_size=12) | st.sampled_from(["gpt", "vec", "user", "system", "hi", "float", "0"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
FIELDS = ("model", "prompt", "messages", "input", "max_tokens", "temperature", "top_p", "stop", "seed",
          "stream", "stream_options", "n", "best_of", "logprobs", "tools", "response_format",
          "encoding_format", "dimensions", "max_completion_tokens", "user", "logit_bias", "inputs",
          "outputs", "REQUEST")  # fmt: skip
MESSAGE = st.fixed_dictionaries({}, optional={"role": TEXTS | JSON, "content": TEXTS | JSON})
GOOD = {"model": st.just("gpt"), "prompt": st.just("hi"), "input": st.just("hi"),
        "messages": st.lists(MESSAGE, max_size=3)}  # fmt: skip
BODIES = st.fixed_dictionaries({}, optional={name: GOOD.get(name, JSON) | JSON for name in FIELDS})
VALUES = st.text(string.printable.strip(), max_size=40) | st.binary(max_size=30).map(
    lambda raw: raw.translate(None, b"\r\n\0").decode("latin-1")
)
READ_SECONDS = 0.05
FUZZ = examples(check=40, hunt=1000, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A gateway with two models, and the loop that it lives in."""
    with asyncio.Runner() as runner:
        stack = runner.run(entered(tmp_path_factory.mktemp("data")))
        yield runner, *stack[1:]
        runner.run(stack[0].aclose())


async def entered(path):
    stack = AsyncExitStack()
    gpt, vec = [await stack.enter_async_context(FakeTriton()) for _ in range(2)]
    rig = await stack.enter_async_context(
        running_gateway(path, keep_alive_seconds=5, read_seconds=READ_SECONDS)
    )
    rig.know(
        [service("gpt"), service("vec", "Embed")],
        [*endpoints("gpt", gpt.port), *endpoints("vec", vec.port)],
    )
    return stack, rig, (gpt, vec)


def is_whole(raw, method):
    """Whether that is an answer to its end, if its end can be seen in it."""
    head, ended, rest = raw.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    if not ended:
        return False
    if lines[0].split()[1].startswith(b"1"):
        return is_whole(rest, method)
    if method == "HEAD":
        return True
    if b"transfer-encoding: chunked" in lines:
        return rest.endswith(b"0\r\n\r\n")
    sizes = [int(line[15:]) for line in lines if line.startswith(b"content-length:")]
    return bool(sizes) and len(rest) >= sizes[0]


async def sent(rig, method, path, headers, body):
    """Status, headers and body of the answer to bytes of our own; None where the connection was
    closed without one. One of both comes, however busy the machine is."""
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.gateway.data.number)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers)
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode("latin-1") + body)
    raw = b""
    with contextlib.suppress(ConnectionResetError):
        async with asyncio.timeout(60):
            # What the headers made of the connection may keep it open after the answer.
            while not is_whole(raw, method) and (piece := await reader.read(1 << 16)):
                raw += piece
    writer.close()
    if not raw:
        return None
    head, _, rest = raw.partition(b"\r\n\r\n")
    return int(head.split()[1]), head, rest


def judge(rig, answer, fakes):
    if answer is not None:
        status, head, body = answer
        assert status < 500 or status == 501, answer
        assert b"secret" not in body
        if status >= 400 and body and b"application/json" in head:
            error = json.loads(body)["error"]
            assert set(error) == {"message", "type", "param", "code"}
            assert error["message"].endswith((".", "'"))
            assert len(error["message"]) < 400
    assert rig.gateway.health.active == 0
    assert rig.line("gpt").running == rig.line("vec").running == 0
    assert not rig.line("gpt").hold


async def settled(rig):
    async with asyncio.timeout(60):
        await rig.gateway.health.idle()


@FUZZ
@given(body=BODIES | JSON, path=st.sampled_from(PATHS[:3]))
def test_no_json_body_makes_the_gateway_fail(place, body, path):
    runner, rig, fakes = place
    raw = json.dumps(body).encode()
    headers = [
        ("Authorization", f"Bearer {rig.key}"),
        ("Content-Length", len(raw)),
        ("Connection", "close"),
    ]
    answer = runner.run(sent(rig, "POST", path, headers, raw))
    runner.run(settled(rig))
    assert answer is not None
    judge(rig, answer, fakes)


@FUZZ
@given(
    raw=st.binary(max_size=200),
    path=st.sampled_from(PATHS),
    cut=st.sampled_from([0, 0, 0, 0, 0, 0, -1, 3]),
)
def test_no_bytes_make_the_gateway_fail(place, raw, path, cut):
    runner, rig, fakes = place
    headers = [("Authorization", f"Bearer {rig.key}"), ("Content-Length", max(0, len(raw) + cut)),
               ("Connection", "close")]  # fmt: skip
    answer = runner.run(sent(rig, "POST", path, headers, raw))
    runner.run(settled(rig))
    judge(rig, answer, fakes)


@FUZZ
@given(
    headers=st.lists(
        st.tuples(st.sampled_from(NAMES) | st.text("aZ-_9", min_size=1, max_size=9), VALUES),
        max_size=6,
    ),
    key=st.booleans(),
    method=st.sampled_from(["GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "get"]),
    path=st.sampled_from(PATHS),
)
# No UTF-8, and passed on to the model server.
@example(headers=[("Content-Type", "a/\xc9")], key=True, method="POST", path="/v2/models/gpt/infer")
def test_no_headers_make_the_gateway_fail(place, headers, key, method, path):
    runner, rig, fakes = place
    given_ = [("Connection", "close"), *headers]
    given_ += [("Authorization", f"Bearer {rig.key}")] if key else []
    body = json.dumps({"model": "gpt", "prompt": "hi"}).encode()
    if not any(name.lower() in {"content-length", "transfer-encoding"} for name, _ in headers):
        given_.append(("Content-Length", len(body)))
    answer = runner.run(sent(rig, method, path, given_, body))
    runner.run(settled(rig))
    judge(rig, answer, fakes)


@FUZZ
@given(value=VALUES | st.text("sk-pre019AZaz", max_size=70))
def test_no_authorization_opens_the_gateway_or_asks_its_ledger(place, value):
    runner, rig, fakes = place
    asked = []

    def note(*_):
        if threading.current_thread() is threading.main_thread():
            asked.append(1)  # another thread looks for changes of keys now and then

    headers = [("Connection", "close"), ("Authorization", value)]
    event.listen(rig.gateway.engine, "before_cursor_execute", note)
    answer = runner.run(sent(rig, "GET", "/v1/models", headers, b""))
    event.remove(rig.gateway.engine, "before_cursor_execute", note)
    judge(rig, answer, fakes)
    assert answer[0] in {400, 401}
    assert not asked


def test_it_still_serves_after_all_that(place):
    runner, rig, _ = place
    body = json.dumps({"model": "gpt", "prompt": "hi"}).encode()
    headers = [
        ("Authorization", f"Bearer {rig.key}"),
        ("Content-Length", len(body)),
        ("Connection", "close"),
    ]
    status, _, text = runner.run(sent(rig, "POST", "/v1/completions", headers, body))
    assert status == 200
    assert json.loads(text)["choices"][0]["text"] == "one two three"
    assert rig.gateway.http._memory.left == rig.gateway.settings.body_memory
