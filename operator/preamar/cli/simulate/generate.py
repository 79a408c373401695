"""What would a typical load look like? Six of them, the same for the same seed.

``steady``: independent callers. ``diurnal``: a day's rise and fall in two hours. ``bursty-1``: a
rate that wanders, gaps with a coefficient of variation (CV) near 1, as in a conversation service.
``bursty-13``: gaps with CV 13, so many at once and then silence, as in a code service. ``flash``:
five times the load for six minutes. ``on-off``: busy and silent periods of random length. Prompts
and answers have log-normal lengths with the medians and 99th percentiles of the Azure conversation
trace of 2023 (Patel et al., Splitwise, ISCA 2024).
"""

import csv
from collections.abc import Callable, Iterator, Mapping
from math import exp, log, pi, sin
from pathlib import Path
from random import Random
from types import MappingProxyType

from preamar.cli.simulate.trace import Request

HOUR = 3600.0
_P99 = 2.3263
"""Standard deviations to the 99th percentile of a normal distribution."""


def _thinned(
    random: Random, rate: Callable[[float], float], most: float, seconds: float
) -> Iterator[float]:
    """A Poisson process whose rate varies but never exceeds ``most`` (Lewis and Shedler, 1979)."""
    now = random.expovariate(most)
    while now <= seconds:
        if random.random() * most < rate(now):
            yield now
        now += random.expovariate(most)


def _steady(random: Random) -> Iterator[float]:
    return _thinned(random, lambda _now: 5.0, 5.0, HOUR)


def _diurnal(random: Random) -> Iterator[float]:
    return _thinned(
        random, lambda now: 5.0 * (1 - 0.8 * sin(pi * now / HOUR + pi / 2)), 9.0, 2 * HOUR
    )


def _wandering(random: Random) -> Iterator[float]:
    """The logarithm of the rate is an autoregressive walk with a step each 10 s."""
    rates, level = [], 0.0
    for _ in range(int(HOUR / 10.0) + 1):
        level = 0.92 * level + random.gauss(0.0, 0.13)
        rates.append(min(5.0 * exp(level), 20.0))
    return _thinned(random, lambda now: rates[int(now / 10.0)], max(rates), HOUR)


def _bursts(random: Random) -> Iterator[float]:
    """Gaps from a gamma distribution with mean 0.4 s and CV 13."""
    shape = 1 / 13.0**2
    now = random.gammavariate(shape, 0.4 / shape)
    while now <= HOUR:
        yield now
        now += random.gammavariate(shape, 0.4 / shape)


def _flash(random: Random) -> Iterator[float]:
    return _thinned(random, lambda now: 15.0 if 1800 < now < 2160 else 3.0, 15.0, HOUR)


def _on_off(random: Random) -> Iterator[float]:
    begin = 0.0
    while begin < HOUR:
        end = min(begin + random.uniform(120.0, 480.0), HOUR)
        for offset in _thinned(random, lambda _now: 6.0, 6.0, end - begin):
            yield begin + offset
        begin = end + random.uniform(120.0, 480.0)


LOADS: Mapping[str, Callable[[Random], Iterator[float]]] = MappingProxyType(
    {
        "steady": _steady,
        "diurnal": _diurnal,
        "bursty-1": _wandering,
        "bursty-13": _bursts,
        "flash": _flash,
        "on-off": _on_off,
    }
)


def generate(name: str, seed: int = 1) -> list[Request]:
    """The requests of a load, in order of time from the first. Raises ``KeyError``."""
    random = Random(f"{name} {seed}")  # noqa: S311 - a load to repeat, not a secret
    arrivals = list(LOADS[name](random))

    def tokens(median: float, p99: float) -> int:
        return max(1, round(median * exp(random.gauss(0.0, log(p99 / median) / _P99))))

    return [
        Request(round(at - arrivals[0], 3), tokens(1020, 4142), tokens(129, 601)) for at in arrivals
    ]


def write_trace(path: Path, requests: list[Request]) -> None:
    """A CSV that ``read_trace`` reads."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("timestamp", "input_tokens", "output_tokens"))
        rows.writerows((r.at, r.input_tokens, r.output_tokens) for r in requests)
