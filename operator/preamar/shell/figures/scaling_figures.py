"""What did passes last see of the demand for each service, and what was learned of it?

Kept as few numbers a service and turned into series when somebody looks. What is unknown has no
series: a zero would be taken for an empty queue.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from preamar.protocol.demand import Demand


class _Demand(NamedTuple):
    """Requests: waiting in gateways, on replicas as gateways say, and as model servers say."""

    queued: int | None
    running: int | None
    witness: int | None


class _LearnedSeconds(NamedTuple):
    """Seconds: of one request on a replica, until its first token, until a replica is ready."""

    service: float | None
    first_token: float | None
    cold_start: float | None


class ScalingFigures(Collector):
    """Gauges by service."""

    def __init__(self) -> None:
        self._demand: dict[str, _Demand] = {}
        self._learned: dict[str, _LearnedSeconds] = {}

    def demanded(self, service: str, told: Demand, seen: int | None) -> None:
        """What gateways told, and what the model servers were seen to have."""
        whole = told.in_flight is not None
        self._demand[service] = _Demand(
            told.queued if whole else None, told.at_least - told.queued if whole else None, seen
        )

    def learned(self, service: str, demand: Demand, known: Mapping[str, Any]) -> None:
        """``known`` is ``status.learned``."""
        start = known.get("coldStartSeconds")
        self._learned[service] = _LearnedSeconds(
            demand.service_seconds, demand.first_token_seconds, float(start) if start else None
        )

    def forget(self, service: str) -> None:
        """A service is gone, and its series with it."""
        self._demand.pop(service, None)
        self._learned.pop(service, None)

    def collect(self) -> Iterator[Metric]:
        yield _family(
            "preamar_scaling_demand",
            "Requests that want a service: queued and running as gateways say, and witness, what "
            "its model servers say. Unknown ones are left out.",
            {service: figures._asdict() for service, figures in tuple(self._demand.items())},
        )
        yield _family(
            "preamar_scaling_learned_seconds",
            "Seconds learned of a model: service (one request on a replica), first_token, "
            "cold_start.",
            {service: figures._asdict() for service, figures in tuple(self._learned.items())},
        )


def _family(
    name: str, text: str, found: Mapping[str, Mapping[str, float | None]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=["service", "kind"])
    for service, figures in found.items():
        for kind, value in figures.items():
            if value is not None:
                family.add_metric([service, kind], value)
    return family
