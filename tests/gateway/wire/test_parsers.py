"""Is what comes over the wire read the same however its bytes arrive, and refused where it is none?

Holds: gateway/wire/http1.py, gateway/wire/protobuf.py, gateway/wire/sse.py
"""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preamar.gateway.wire import protobuf
from preamar.gateway.wire.http1 import Garbled, ResponseParser
from preamar.gateway.wire.sse import Events, event
from tests.hunting import examples


@examples(check=25, hunt=2000)
@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), st.data())
def test_a_response_is_the_same_however_its_bytes_arrive(chunks, data):
    body = b"".join(chunks)
    framed = b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nX: y\r\n"
    for wire in (
        head + b"Transfer-Encoding: chunked\r\n\r\n" + framed,
        head + b"Content-Length: %d\r\n\r\n" % len(body) + body,
    ):
        parser = ResponseParser()
        rest = wire
        while rest:
            assert not parser.done
            size = data.draw(st.integers(1, len(rest)))
            parser.feed(rest[:size])
            rest = rest[size:]
        assert parser.done
        assert parser.head.status == 200
        assert b"".join(parser.pieces) == body


@pytest.mark.parametrize("wire", [
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\n : x\r\n\r\n", b"SSH-2.0-x\r\n\r\n", b"x" * 70000,
])  # fmt: skip
def test_a_garbled_response_is_refused(wire):
    with pytest.raises(Garbled):
        ResponseParser().feed(wire)


def test_a_response_that_is_cut_is_never_whole():
    wire = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    for at in range(len(wire)):
        parser = ResponseParser()
        parser.feed(wire[:at])
        with pytest.raises(Garbled):
            parser.eof()


@examples(check=25, hunt=2000)
@given(st.lists(st.text(max_size=20), max_size=10), st.data())
def test_events_are_the_same_however_their_bytes_arrive(texts, data):
    wire = b"".join(event(json.dumps(text).encode()) for text in texts)
    events, found = Events(), []
    while wire:
        size = data.draw(st.integers(1, len(wire)))
        found += events.feed(wire[:size])
        wire = wire[size:]
    assert [json.loads(item) for item in found] == texts


@examples(check=25, hunt=2000)
@given(st.binary(max_size=200))
def test_no_bytes_break_the_protobuf_reader(data):
    try:
        for number, value in protobuf.fields(data):
            assert number >= 0
            assert isinstance(value, int | bytes)
    except protobuf.NotProtobuf:
        pass


@examples(check=25, hunt=2000)
@given(st.lists(st.integers(0, 10**6), max_size=5), st.lists(st.integers(0, 10**6), max_size=5))
def test_tokens_are_read_from_raw_tensors(given_tokens, made_tokens):
    message = b""
    for name in (b"TEXT", b"INPUT_TOKENS", b"OUTPUT_TOKENS"):
        message += protobuf.message(5, protobuf.message(1, name))
    for raw in (b"x" * 300, struct.pack(f"<{len(given_tokens)}i", *given_tokens),
                struct.pack(f"<{len(made_tokens)}i", *made_tokens)):  # fmt: skip
        message += protobuf.message(6, raw)
    assert protobuf.token_counts(message) == (sum(given_tokens), sum(made_tokens))
