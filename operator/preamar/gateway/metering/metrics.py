"""What can be measured: the gateway's figures in Prometheus' text, with bounded label values.

Queues and requests in flight are read from the queues when somebody looks, so that they cost
requests nothing and end with their pods. A model that does not exist is ``unknown``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from preamar.gateway.routing.queue import ModelQueue
from preamar.protocol.accounts import Drift

UNKNOWN = "unknown"
NOBODY = ""
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


M = TypeVar("M", Counter, Histogram)


class _Gauges(Collector):
    def __init__(self, queues: Callable[[], Iterable[ModelQueue]]) -> None:
        self._queues = queues

    def collect(self) -> Iterator[Metric]:
        depth = GaugeMetricFamily(
            "preamar_gateway_queue_depth", "Requests that wait for a replica.", labels=["model"]
        )
        flight = GaugeMetricFamily(
            "preamar_gateway_in_flight",
            "Requests that a replica has.",
            labels=["model", "pod"],
        )
        for queue in list(self._queues()):
            name = queue.model.name
            depth.add_metric([name], len(queue.hold))
            for replica in (*queue.replicas.values(), *queue.leaving):
                flight.add_metric([name, replica.address.pod], replica.in_flight)
        yield depth
        yield flight


class _Drifts(Collector):
    def __init__(self, found: Callable[[], Mapping[str, Drift]]) -> None:
        self._found = found

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "preamar_ledger_drift_ratio",
            "What was charged beyond (below 0: less than) what the model servers counted, as a part "
            "of it, where nothing explains it.",
            labels=["model"],
        )
        for name, drift in self._found().items():
            family.add_metric([name], drift.ratio)
        yield family


class Meters:
    """Counters of one gateway."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._children: dict[tuple[object, tuple[str, ...]], Any] = {}
        self._requests = Counter(
            "preamar_gateway_requests",
            "Requests by the status that the caller saw (499: the caller left).",
            ["model", "tenant", "code"],
            registry=self.registry,
        )
        self._tokens = Counter(
            "preamar_gateway_tokens",
            "Tokens by kind, input or output.",
            ["model", "tenant", "kind"],
            registry=self.registry,
        )
        self._first = Histogram(
            "preamar_gateway_first_token_seconds",
            "From the request's arrival to the first piece of its answer, in seconds.",
            ["model"],
            buckets=BUCKETS,
            registry=self.registry,
        )

    def watch(self, queues: Callable[[], Iterable[ModelQueue]]) -> None:
        """Show queues and requests in flight of these queues."""
        self.registry.register(_Gauges(queues))

    def watch_drift(self, found: Callable[[], Mapping[str, Drift]]) -> None:
        """Show how far the ledger and the model servers disagree."""
        self.registry.register(_Drifts(found))

    def request(self, model: str, tenant: str, code: int) -> None:
        self._of(self._requests, model, tenant, str(code)).inc()

    def tokens(self, model: str, tenant: str, given: int, made: int) -> None:
        if given:
            self._of(self._tokens, model, tenant, "input").inc(given)
        if made:
            self._of(self._tokens, model, tenant, "output").inc(made)

    def first_token(self, model: str, seconds: float) -> None:
        self._of(self._first, model).observe(seconds)

    def _of(self, metric: M, *labels: str) -> M:
        """``labels`` takes a lock and makes texts of what are texts: asked once for each."""
        found = self._children.get((metric, labels))
        if found is None:
            found = self._children[metric, labels] = metric.labels(*labels)
        return cast(M, found)

    def text(self) -> bytes:
        return generate_latest(self.registry)
