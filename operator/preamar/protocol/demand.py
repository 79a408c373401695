"""How much work wants a service now, as gateways tell and the operator sizes by?"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from preamar.protocol.canary import Trial


class Carried(NamedTuple):
    """What one replica has: requests that run there, and output tokens they may still ask for."""

    running: int = 0
    tokens_left: int = 0


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
