"""What arrived, when, and how long does each request take?

A trace is a CSV with a header and the columns ``timestamp`` (seconds, any origin), ``input_tokens``
and ``output_tokens``. Times are made relative to the first request; rows need not be in order.
"""

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

MOST_REQUESTS = 5_000_000


class BadTrace(ValueError):
    """The file cannot be read as a trace; the message says where and what to do."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request: seconds from the first one, and its tokens."""

    at: float
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ServiceModel:
    """Seconds that a request takes on a replica, whatever else runs there:
    ``seconds + input_tokens * per_input_token + output_tokens * per_output_token``."""

    seconds: float = 0.0
    per_input_token: float = 0.0
    per_output_token: float = 0.0

    def of(self, request: Request) -> float:
        """Seconds for one request."""
        return (
            self.seconds
            + request.input_tokens * self.per_input_token
            + request.output_tokens * self.per_output_token
        )


@dataclass(frozen=True, slots=True)
class LoadTrace:
    """What a simulation is fed: arrival times in order, and seconds of service, one each."""

    name: str
    arrivals: Sequence[float]
    service: Sequence[float]

    @property
    def mean_service(self) -> float:
        """Seconds of service per request."""
        return sum(self.service) / len(self.service)

    def service_of(self, share: float) -> float:
        """Seconds of service that so large a share of requests does not exceed."""
        ordered = sorted(self.service)
        return ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]

    @property
    def seconds(self) -> float:
        """From the first request to the last."""
        return self.arrivals[-1]


def load(name: str, requests: Sequence[Request], model: ServiceModel) -> LoadTrace:
    """A trace with its service times. Raises ``BadTrace`` for a time that is not above zero."""
    service = [model.of(request) for request in requests]
    if not service or not all(s > 0 and math.isfinite(s) for s in service):
        raise BadTrace(
            f"{name}: each request must take a time above zero: check --service-seconds or the service model"
        )
    return LoadTrace(name, [request.at for request in requests], service)


def read_trace(path: Path) -> list[Request]:
    """The requests of a CSV, in order of time from the first. Raises ``BadTrace``."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            requests = sorted(_rows(path, csv.DictReader(file)), key=lambda request: request.at)
    except OSError as error:
        raise BadTrace(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadTrace(f"{path} is not a CSV in UTF-8: {error}") from error
    if not requests:
        raise BadTrace(f"{path} has no requests: a row each, below a header, is expected")
    first = requests[0].at
    return [Request(r.at - first, r.input_tokens, r.output_tokens) for r in requests]


def _rows(path: Path, rows: "csv.DictReader[str]") -> Iterator[Request]:
    if "timestamp" not in (rows.fieldnames or ()):
        raise BadTrace(
            f"{path}: the header must name timestamp, input_tokens and output_tokens; it is {rows.fieldnames}"
        )
    for count, row in enumerate(rows):
        if count >= MOST_REQUESTS:
            raise BadTrace(f"{path} has more than {MOST_REQUESTS} requests: cut it into parts")
        try:
            at = float(row["timestamp"])
            tokens = [int(float(row.get(c) or 0)) for c in ("input_tokens", "output_tokens")]
        except (TypeError, ValueError, OverflowError) as error:
            raise BadTrace(f"{path}, line {rows.line_num}: {error}") from error
        if not math.isfinite(at) or min(tokens) < 0:
            raise BadTrace(
                f"{path}, line {rows.line_num}: a time must be finite, tokens not below 0"
            )
        yield Request(at, *tokens)


def read_service_model(path: Path) -> ServiceModel:
    """A YAML or JSON file with ``seconds``, ``perInputToken`` and ``perOutputToken``, all in
    seconds and each optional. Raises ``BadTrace``."""
    names = {
        "seconds": "seconds",
        "perInputToken": "per_input_token",
        "perOutputToken": "per_output_token",
    }
    try:
        told: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadTrace(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadTrace(f"{path} is neither YAML nor JSON: {error}") from error
    if not isinstance(told, dict) or set(told) - set(names):
        raise BadTrace(f"{path}: a service model has the keys {', '.join(names)}, in seconds")
    try:
        model = ServiceModel(**{names[key]: float(value) for key, value in told.items()})
    except (TypeError, ValueError) as error:
        raise BadTrace(f"{path}: {error}") from error
    return model
