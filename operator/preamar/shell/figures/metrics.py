"""What does the operator tell Prometheus? Base units, bounded labels, no user's words."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from preamar.shell.figures.scaling_figures import ScalingFigures


class Metrics:
    """Everything that is measured, in a registry of its own so that tests can have many."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.reconcile = Histogram(
            "preamar_reconcile_seconds",
            "Time of one pass, by kind.",
            ["kind"],
            buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60),
            registry=r,
        )
        self.errors = Counter(
            "preamar_reconcile_errors_total", "Passes that failed.", ["kind", "error"], registry=r
        )
        self.requests = Counter(
            "preamar_api_requests_total",
            "Requests to the API server.",
            ["verb", "outcome"],
            registry=r,
        )
        self.desired = Gauge(
            "preamar_scaling_desired_replicas",
            "Replicas that were decided on, and why.",
            ["service", "reason"],
            registry=r,
        )
        self.resizes = Counter(
            "preamar_scaling_decisions_total",
            "Changes of a service's size that were written, by reason.",
            ["reason"],
            registry=r,
        )
        self.scaling = ScalingFigures()
        r.register(self.scaling)
        self.depth = Gauge("preamar_queue_depth", "Keys that wait for a worker.", registry=r)
        self.oldest = Gauge(
            "preamar_queue_oldest_seconds", "How long the oldest key has waited.", registry=r
        )
        self.goodput = Gauge(
            "preamar_training_goodput_ratio",
            "Share of a training job's time that went into steps that count.",
            ["job"],
            registry=r,
        )
        self.lag = Gauge(
            "preamar_loop_lag_seconds",
            "Worst lag of the event loop in the last minute.",
            registry=r,
        )
        self.silence = Gauge(
            "preamar_watch_silent_seconds", "Since a watch was last heard.", ["plural"], registry=r
        )
        self.leader = Gauge("preamar_leader", "1 on the replica which writes.", registry=r)
        self._reasons: dict[str, str] = {}
        self._jobs: set[str] = set()

    def passed(self, kind: str, seconds: float, error: BaseException | None) -> None:
        """A pass ended."""
        self.reconcile.labels(kind).observe(seconds)
        if error is not None:
            self.errors.labels(kind, type(error).__name__).inc()

    def requested(self, verb: str, outcome: str) -> None:
        """A request to the API server ended."""
        self.requests.labels(verb, outcome).inc()

    def decided(self, service: str, reason: str, replicas: int) -> None:
        """A size was decided on; a service has one reason at a time."""
        before = self._reasons.get(service)
        if before is not None and before != reason:
            self.desired.remove(service, before)
        self._reasons[service] = reason
        self.desired.labels(service, reason).set(replicas)

    def resized(self, reason: str) -> None:
        """Another size was written."""
        self.resizes.labels(reason).inc()

    def forget_service(self, service: str) -> None:
        """A service is gone, and its series with it."""
        self.scaling.forget(service)
        reason = self._reasons.pop(service, None)
        if reason is not None:
            self.desired.remove(service, reason)

    def trained(self, job: str, goodput: float | None) -> None:
        """How much of a job's time was useful; None where none has passed or the job is gone."""
        if goodput is not None:
            self.goodput.labels(job).set(goodput)
            self._jobs.add(job)
        elif job in self._jobs:
            self._jobs.discard(job)
            self.goodput.remove(job)

    def text(self) -> bytes:
        """In Prometheus's text format."""
        return generate_latest(self.registry)
