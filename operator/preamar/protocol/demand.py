"""How much work wants a service now, as gateways tell (``POST /demand``) and the operator sizes by?"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from preamar.protocol import canary, fields
from preamar.protocol.canary import Trial

MOST_SERVICES = 10_000
MOST_PODS = 1000
BARE = frozenset({"queued", "running", "arrived"})
"""All that is said of a service that nobody has ever asked for: most of many are asleep."""


class Carried(NamedTuple):
    """What one replica has: requests that run there, and output tokens they may still ask for."""

    running: int = 0
    tokens_left: int = 0


NO_PODS: Mapping[str, Carried] = MappingProxyType({})


class Load(NamedTuple):
    """What one gateway says of one service: how it is now, and totals since the gateway's start.
    Seconds are on a replica; ``pods`` are those with requests, by address."""

    queued: int
    running: int
    arrived: int = 0
    finished: int = 0
    busy_seconds: float = 0.0
    first_tokens: int = 0
    first_token_seconds: float = 0.0
    oldest_wait: float = 0.0
    pods: Mapping[str, Carried] = NO_PODS
    trial: Trial | None = None

    @property
    def in_flight(self) -> int:
        """Requests that want the service now."""
        return self.queued + self.running

    def tells_more_than(self, before: "Load | None") -> bool:
        """Whether a decision may come out otherwise: by a count, or because somebody waits on."""
        return before is None or self[:3] != before[:3] or self.oldest_wait > 0


@dataclass(frozen=True, slots=True)
class Report:
    """One report of one gateway. Services are named ``namespace/name``; each is in it, so that zero is
    said."""

    gateway: str
    sequence: int
    services: Mapping[str, Load] = field(default_factory=lambda: MappingProxyType({}))
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class Demand:
    """Work that wants this service now: requests queued and running, over all gateways.

    ``in_flight`` is None while any gateway that should report is silent. ``at_least`` is what
    those which do report add up to: it may raise the size, and never lowers it.

    ``oldest_wait``: seconds that the first in line has waited. ``arrivals``: requests that arrived
    in each of the last whole seconds, oldest first, as far back as every second is known.
    ``service_seconds`` and ``first_token_seconds``: learned means of one request on a replica.
    ``pods``: what each replica carries, by its address. ``trials``: what each gateway counted of a
    revision on trial.
    """

    in_flight: int | None = None
    at_least: int = 0
    queued: int = 0
    oldest_wait: float = 0.0
    arrivals: tuple[int, ...] = ()
    service_seconds: float | None = None
    first_token_seconds: float | None = None
    pods: Mapping[str, Carried] = field(default_factory=lambda: MappingProxyType({}))
    trials: tuple[Trial, ...] = ()


def encode(report: Report) -> dict[str, Any]:
    """As JSON. Seconds are told in thousandths."""
    services = {name: encode_load(load) for name, load in report.services.items()}
    body = {"gateway": report.gateway, "sequence": report.sequence, "services": services}
    return body | ({"leaving": True} if report.leaving else {})


def encode_load(load: Load) -> dict[str, Any]:
    """What is 0 or empty, and later than the first three, is left out."""
    more = {
        "finished": load.finished,
        "busySeconds": round(load.busy_seconds, 3),
        "firstTokens": load.first_tokens,
        "firstTokenSeconds": round(load.first_token_seconds, 3),
        "oldestWait": round(load.oldest_wait, 3),
        "pods": {
            ip: {"running": pod.running, "tokensLeft": pod.tokens_left}
            for ip, pod in load.pods.items()
        },
        "trial": canary.encode(load.trial) if load.trial else None,
    }
    first = {"queued": load.queued, "running": load.running, "arrived": load.arrived}
    return first | {name: value for name, value in more.items() if value}


def decode(body: Any) -> Report:
    """The reverse. Raises ``ValueError``, ``KeyError`` or ``TypeError``."""
    services = fields.mapping(fields.mapping(body).get("services", {}))
    if len(services) > MOST_SERVICES:
        raise ValueError(f"more than {MOST_SERVICES} services")
    return Report(
        gateway=fields.name(body["gateway"]),
        sequence=fields.count(body["sequence"]),
        services={fields.name(name): _decode_load(load) for name, load in services.items()},
        leaving=body.get("leaving") is True,
    )


def _decode_load(body: Any) -> Load:
    """An older gateway leaves out what it does not know; so does any what is 0 or empty."""
    count, seconds = fields.count, fields.seconds
    first = count(body["queued"]), count(body["running"]), count(body.get("arrived", 0))
    if len(body) <= len(first) and body.keys() <= BARE:
        return Load(*first)
    return Load(
        *first,
        finished=count(body.get("finished", 0)),
        busy_seconds=seconds(body.get("busySeconds", 0)),
        first_tokens=count(body.get("firstTokens", 0)),
        first_token_seconds=seconds(body.get("firstTokenSeconds", 0)),
        oldest_wait=seconds(body.get("oldestWait", 0)),
        pods=_decode_pods(body["pods"]) if "pods" in body else NO_PODS,
        trial=canary.decode(body["trial"]) if "trial" in body else None,
    )


def _decode_pods(body: Any) -> Mapping[str, Carried]:
    if len(fields.mapping(body)) > MOST_PODS:
        raise ValueError(f"more than {MOST_PODS} pods of one service")
    return {
        fields.name(ip): Carried(
            fields.count(pod["running"]), fields.count(pod.get("tokensLeft", 0))
        )
        for ip, pod in body.items()
    }
