"""How do two members talk? Frames over TCP, after each has proved that it knows the group's secret.

The frames are those of `multiprocessing.connection`, sent as plain bytes: nothing is unpickled, and
tensors are NumPy's own format without objects. The proof is HMAC-SHA256 over both sides' random
numbers, so what one connection showed is of no use to another.
"""

import hmac
import io
import json
import secrets
import socket
from collections.abc import Mapping
from multiprocessing.connection import Connection

import numpy as np

PROOF_SECONDS = 10.0
MOST_WORDS = 1 << 20
MOST_BYTES = 1 << 32
NONCE = 32


class Stranger(Exception):
    """The other side is not of this group, or of another version or model."""


class ChannelClosed(Exception):
    """The other side is gone."""


def connect(host: str, port: int, secret: str, seconds: float = 5.0) -> Connection:
    """To a worker. Raises `OSError` while there is none, `Stranger` for one of another group."""
    return _proved(socket.create_connection((host, port), timeout=seconds), secret, b"leader")


def accept(taken: socket.socket, secret: str) -> Connection:
    """From a leader. Raises `Stranger`."""
    return _proved(taken, secret, b"worker")


def _proved(taken: socket.socket, secret: str, me: bytes) -> Connection:
    taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 3), ("TCP_KEEPINTVL", 1), ("TCP_KEEPCNT", 3)):
        taken.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    # A peer whose machine is gone acknowledges nothing: what is on its way fails in seconds too.
    taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 6000)
    taken.settimeout(None)
    connection = Connection(taken.detach())
    other = b"worker" if me == b"leader" else b"leader"
    mine = secrets.token_bytes(NONCE)
    try:
        connection.send_bytes(mine)
        theirs = _received(connection, PROOF_SECONDS, NONCE)
        connection.send_bytes(_proof(secret, me, mine, theirs))
        shown = _received(connection, PROOF_SECONDS, 64)
    except ChannelClosed as error:
        connection.close()
        raise Stranger("it does not say who it is") from error
    if len(theirs) != NONCE or not hmac.compare_digest(shown, _proof(secret, other, theirs, mine)):
        connection.close()
        raise Stranger("it does not know the group's secret")
    return connection


def _proof(secret: str, who: bytes, first: bytes, second: bytes) -> bytes:
    return hmac.digest(secret.encode(), b"preamar/group/" + who + first + second, "sha256")


def say(connection: Connection, **words: object) -> None:
    """Raises `ChannelClosed`."""
    try:
        connection.send_bytes(json.dumps(words).encode())
    except (OSError, ValueError) as error:
        raise ChannelClosed(str(error)) from error


def hear(connection: Connection, seconds: float) -> dict:
    """Raises `ChannelClosed` when the other side is gone or silent for so long, `Stranger` for noise."""
    try:
        words = json.loads(_received(connection, seconds, MOST_WORDS))
    except ValueError as error:
        raise Stranger("it says what cannot be read") from error
    if not isinstance(words, dict):
        raise Stranger("it says what cannot be read")
    return words


def give(connection: Connection, tensors: Mapping[str, np.ndarray]) -> None:
    """Tensors by name. Raises `ChannelClosed`."""
    say(connection, tensors=list(tensors))
    for value in tensors.values():
        out = io.BytesIO()
        np.lib.format.write_array(
            out, np.ascontiguousarray(value).reshape(value.shape), allow_pickle=False
        )
        try:
            connection.send_bytes(out.getbuffer())
        except (OSError, ValueError) as error:
            raise ChannelClosed(str(error)) from error


def take(connection: Connection, seconds: float | None) -> dict[str, np.ndarray]:
    """The other side's tensors. Raises `ChannelClosed`; `RuntimeError` with its words where it failed."""
    told = hear(connection, seconds)
    if "error" in told:
        raise RuntimeError(str(told["error"]))
    return {
        str(name): np.lib.format.read_array(
            io.BytesIO(_received(connection, seconds, MOST_BYTES)), allow_pickle=False
        )
        for name in told.get("tensors") or ()
    }


def _received(connection: Connection, seconds: float | None, most: int) -> bytes:
    try:
        if not connection.poll(seconds):
            raise ChannelClosed(f"nothing was heard for {seconds:g} s")
        return connection.recv_bytes(most)
    except (OSError, EOFError) as error:
        raise ChannelClosed(str(error) or "the connection was closed") from error
