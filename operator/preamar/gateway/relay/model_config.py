"""What a model server says of its model: read once per pod, from the model's own configuration."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from preamar.gateway.errors import model_failed, unreachable
from preamar.gateway.relay.upstream import Visit, request_bytes
from preamar.gateway.routing.replica import Replica
from preamar.gateway.wire.connections import ConnectionLost, CutShort, NotSent
from preamar.gateway.wire.http1 import Garbled

MAX_BYTES = 4 << 20
ASK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """``max_context`` and ``dimensions`` are 0 where the model does not say."""

    max_context: int = 0
    dimensions: int = 0
    chat_template: str = ""


def config_of(answer: Mapping[str, Any]) -> ModelConfig:
    """From ``GET /v2/models/<name>/config``."""
    parameters = answer.get("parameters") or {}

    def text(name: str) -> str:
        return str((parameters.get(name) or {}).get("string_value", ""))

    def whole(name: str) -> int:
        return int(text(name)) if text(name).isdigit() else 0

    return ModelConfig(whole("max_context"), whole("dimensions"), text("chat_template"))


async def read_config(visit: Visit, name: str) -> ModelConfig:
    """Of the replica that the visit is on. Raises ``Problem``."""
    replica = await visit.enter()
    if replica.config is None:
        path = f"/v2/models/{name}/config"
        answer = await visit.send("GET", path, b"", b"", repeatable=True)
        try:
            body = await answer.exchange.read_all(MAX_BYTES)
            if answer.head.status != 200:
                raise model_failed(name)
            answer.replica.config = config_of(json.loads(body))
        except (CutShort, ValueError, AttributeError, TypeError):
            raise model_failed(name) from None
        visit.done()
        replica = answer.replica
    return known(replica)


async def read_config_of(replica: Replica, name: str) -> ModelConfig:
    """The same for who has no visit: one question on a connection of its own. Raises ``Problem``."""
    if replica.config is None:
        head = request_bytes(replica, "GET", f"/v2/models/{name}/config", b"", 0)
        try:
            async with asyncio.timeout(ASK_SECONDS):
                exchange = await replica.pool.connect()
                try:
                    answer = await exchange.send(head)
                    body = await exchange.read_all(MAX_BYTES)
                finally:
                    exchange.abort()
            if answer.status != 200:
                raise model_failed(name)
            replica.config = config_of(json.loads(body))
        except (NotSent, ConnectionLost, Garbled, TimeoutError):
            raise unreachable(name) from None
        except (CutShort, ValueError, AttributeError, TypeError):
            raise model_failed(name) from None
    return known(replica)


def known(replica: Replica) -> ModelConfig:
    """What was read before."""
    found = replica.config
    assert isinstance(found, ModelConfig)
    return found
