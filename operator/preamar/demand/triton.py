"""What does a model server say of its own load? Read from Triton's /metrics, for callers who do not
come through a gateway.

Requests that wait in Triton are a gauge; those that execute are not told, so their mean is worked
out from what has finished between two readings (Little's law: seconds executed per second). A
backend that takes requests at once, as Generate's does, tells neither; engines for language models
have gauges of their own, which stand in their rows. So this is a lower bound: it may raise a demand and never lowers one. What is
missing or not a number is unknown, never zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from prometheus_client.parser import text_string_to_metric_families

from preamar.protocol.engine_gauges import ANSWERED, lines_of
from preamar.protocol.engines import Gauge, loads

WAITING = "nv_inference_pending_request_count"
EXECUTED = (
    "nv_inference_compute_input_duration_us",
    "nv_inference_compute_infer_duration_us",
    "nv_inference_compute_output_duration_us",
)


@dataclass(slots=True)
class Reading:
    """One model on one server. Totals are since its start; None is unknown."""

    waiting: float | None = None
    answered: float | None = None
    executed_seconds: float | None = None
    engine: float | None = None


def read(text: str) -> dict[str, Reading]:
    """Readings by model, its versions added up. Raises ``ValueError`` where it is no such text."""
    found: dict[str, Reading] = {}
    gauges: dict[str, dict[Gauge, float]] = {}
    metrics = {gauge.metric for way in loads() for gauge in way}
    lines = lines_of(text, (WAITING, ANSWERED, *EXECUTED, *metrics))
    try:
        families = text_string_to_metric_families("\n".join(lines))
        samples = [sample for family in families for sample in family.samples]
    except (IndexError, KeyError, AttributeError, TypeError) as error:
        raise ValueError("not in Prometheus's text format") from error
    for sample in samples:
        model = sample.labels.get("model") or sample.labels.get("model_name") or ""
        value = float(sample.value)
        if not isfinite(value) or value < 0:
            continue
        reading = found.setdefault(model, Reading())
        if sample.name == WAITING:
            reading.waiting = (reading.waiting or 0.0) + value
        elif sample.name == ANSWERED:
            reading.answered = (reading.answered or 0.0) + value
        elif sample.name in EXECUTED:
            reading.executed_seconds = (reading.executed_seconds or 0.0) + value / 1e6
        elif sample.name in metrics:
            gauge = Gauge(sample.name, sample.labels.get("request_type", ""))
            of_model = gauges.setdefault(model, {})
            of_model[gauge] = of_model.get(gauge, 0.0) + value
    for model, of_model in gauges.items():
        found[model].engine = _engine(of_model)
    return found


def _engine(gauges: Mapping[Gauge, float]) -> float | None:
    """What an engine with a queue of its own has."""
    told = [
        sum(gauges.get(gauge, 0.0) for gauge in way)
        for way in loads()
        if any(gauge in gauges for gauge in way)
    ]
    return max(told, default=None)


def in_flight(
    now: Mapping[str, Reading], before: Mapping[str, Reading], seconds: float
) -> int | None:
    """Requests that one server has at least, from a reading and one ``seconds`` earlier; None
    where it does not say.

    The most of any of its models and not their sum: a request that one model passes on to another
    is in both.
    """
    told = [
        reading.waiting + _executing(reading, before.get(model), seconds)
        if reading.waiting is not None
        else reading.engine
        for model, reading in now.items()
    ]
    known = [value for value in told if value is not None]
    return round(max(known)) if known else None


def _executing(now: Reading, before: Reading | None, seconds: float) -> float:
    # While any waits at least one executes.
    least = max(1.0 if now.waiting else 0.0, now.engine or 0.0)
    if before is None or seconds <= 0:
        return least
    answered = _grown(now.answered, before.answered)
    executed = _grown(now.executed_seconds, before.executed_seconds)
    # A request longer than the time between the readings cannot have been more than one in it; and
    # of requests so short that their mean is next to nothing there was one at least.
    mean = min(executed / seconds, answered)
    return max(least, mean, 1.0 if answered else 0.0)


def _grown(now: float | None, before: float | None) -> float:
    """How much a total grew; nothing if it is unknown. One that is less began anew."""
    if now is None or before is None:
        return 0.0
    return now - before if now >= before else now
