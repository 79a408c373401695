"""What does the gateway cost? S3: its processor time beside a Go reverse proxy's, in one run.

Both relay to the same model server, under the same load that arrives when it is due: with keys, a
tenant's limits and budget, the ledger and metrics on. Promised: at most 2.5 times the proxy's time for
a request and 1.15 times for a streamed chunk. PROFILE=1 keeps where the time goes as text.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from e2e.bench.relaying.profile import profiled
from e2e.clusters.gobuild import go
from e2e.faults.money import lives

HERE = Path(__file__).resolve().parent
RESULT = HERE.parents[1] / "build/bench/relay.json"
SECONDS = 8.0
ROUNDS = 3
TICKS = os.sysconf("SC_CLK_TCK")
PER_REQUEST, PER_CHUNK = 2.5, 1.15
TOKENS = 200


@dataclass(frozen=True, slots=True)
class Case:
    """``rate`` requests a second, each for so many tokens, from a model that waits ``delay`` before
    the first and ``gap`` between two."""

    name: str
    rate: float
    tokens: int
    streamed: bool
    delay: str = "0s"
    gap: str = "0s"


SHORT, SLOW, STREAM = (
    Case("request, 0 ms upstream", 150, 1, False),
    Case("request, 50 ms upstream", 150, 1, False, delay="50ms"),
    Case("stream of 200 tokens, 5 ms apart", 8, TOKENS, True, gap="5ms"),
)


@dataclass(slots=True)
class Cost:
    """Of one relay in one case: microseconds of processor time a request; seconds of latency."""

    microseconds: float
    chunks: float
    p50: float
    p99: float
    resident: int
    errors: int


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="preamar-relay-") as folder:
        program = Path(folder) / "relaying"
        argv = [go()[0], "build", "-o", str(program), str(HERE / "relaying/main.go")]
        subprocess.run(argv, check=True, timeout=300)
        found = {case: _compared(case, program, Path(folder)) for case in (SHORT, SLOW, STREAM)}
    return _told(found)


def _compared(case: Case, program: Path, folder: Path) -> dict[str, list[Cost]]:
    print(f"{case.name} …", flush=True)
    costs: dict[str, list[Cost]] = {"proxy": [], "gateway": []}
    upstream_argv = [str(program), "upstream", "-delay", case.delay, "-gap", case.gap]
    with _process(upstream_argv) as (_, port):
        direct = f"http://127.0.0.1:{port}"
        body = json.dumps(
            {"REQUEST": json.dumps({"prompt": "hi", "stop": [], "max_tokens": case.tokens})}
        )
        with (
            _process([str(program), "proxy", "-to", direct]) as (proxy, proxy_port),
            _gateway(folder, port) as (gateway, gateway_port, key),
        ):
            relays = {
                "proxy": (
                    proxy,
                    f"http://127.0.0.1:{proxy_port}/v2/models/gpt/generate_stream",
                    body,
                ),
                "gateway": (
                    gateway,
                    f"http://127.0.0.1:{gateway_port}/v1/completions",
                    json.dumps(
                        {"model": "gpt", "prompt": "hi", "max_tokens": case.tokens}
                        | ({"stream": True} if case.streamed else {})
                    ),
                ),
            }
            for name, (pid, url, asked) in relays.items():
                _load(program, url, asked, key, case.rate, 2.0)
                del name, pid
            # In turn, so that what else the machine does meets both.
            for _ in range(ROUNDS):
                for name, (pid, url, asked) in relays.items():
                    costs[name].append(_measured(program, pid, url, asked, key, case))
            if os.environ.get("PROFILE"):
                _profile(case, gateway, program, relays["gateway"][1:], key)
    return costs


def _measured(program: Path, pid: int, url: str, body: str, key: str, case: Case) -> Cost:
    before = _busy(pid)
    found = _load(program, url, body, key, case.rate, SECONDS)
    time.sleep(0.2)  # what is done after an answer counts as well
    spent = _busy(pid) - before
    return Cost(
        microseconds=spent / found["requests"] * 1e6,
        chunks=found["chunks"] / found["requests"],
        p50=found["p50"],
        p99=found["p99"],
        resident=_resident(pid),
        errors=found["errors"],
    )


def _load(
    program: Path, url: str, body: str, key: str, rate: float, seconds: float
) -> dict[str, Any]:
    argv = [str(program), "load", "-to", url, "-body", body, "-key", key]
    argv += ["-rate", str(rate), "-seconds", str(seconds)]
    out = subprocess.run(argv, check=True, capture_output=True, timeout=120)
    found: dict[str, Any] = json.loads(out.stdout)
    if found["errors"]:
        print(f"  {found['errors']} errors of {url}: {out.stderr.decode().strip()}", flush=True)
    return found


@contextlib.contextmanager
def _process(argv: list[str]) -> Iterator[tuple[int, int]]:
    """A part of the Go program: its id and its port."""
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        yield child.pid, int(child.stdout.readline())
    finally:
        child.kill()
        child.wait()


@contextlib.contextmanager
def _gateway(folder: Path, port: int) -> Iterator[tuple[int, int, str]]:
    home = Path(tempfile.mkdtemp(dir=folder))
    gateways = lives.Gateways(home, port)
    key = lives.a_key(home)
    try:
        lives.begin(gateways)
        yield gateways.pid, gateways.port, key
    finally:
        gateways.stop()
        gateways.ended()
        gateways.close()


def _busy(pid: int) -> float:
    """Seconds of processor time so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return 0


def _profile(case: Case, pid: int, program: Path, asked: tuple[str, str], key: str) -> None:
    """Samples while the load runs, and a table of them."""
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    out = RESULT.with_name(f"relay-{'stream' if case.streamed else 'request'}.folded")
    spy = Path(sys.prefix) / "bin/py-spy"
    argv = [str(spy), "record", "-p", str(pid), "-d", "8", "-r", "500", "-f", "raw", "-o", str(out)]
    watching = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _load(program, *asked, key, case.rate, 9.0)
    watching.wait(60)
    out.with_suffix(".txt").write_text(profiled(case.name, out.read_text()))


def _told(found: dict[Case, dict[str, list[Cost]]]) -> int:
    def median(costs: list[Cost], name: str) -> float:
        return sorted(float(getattr(cost, name)) for cost in costs)[len(costs) // 2]

    print(f"\n{'':34}{'gateway':>10}{'Go proxy':>10}{'ratio':>8}{'promise':>9}")
    lines = []
    for case, costs in found.items():
        ours, theirs = (median(costs[name], "microseconds") for name in ("gateway", "proxy"))
        if case.streamed:
            short = found[SHORT]
            base = [median(short[name], "microseconds") for name in ("gateway", "proxy")]
            chunks = [median(costs[name], "chunks") for name in ("gateway", "proxy")]
            ours, theirs = (ours - base[0]) / chunks[0], (theirs - base[1]) / chunks[1]
        target = PER_CHUNK if case.streamed else PER_REQUEST
        what = "µs a chunk" if case.streamed else "µs a request"
        lines.append(
            {
                "case": case.name,
                "unit": what,
                "gateway": ours,
                "proxy": theirs,
                "ratio": ours / theirs,
                "target": target,
                "met": ours / theirs <= target,
            }
        )
        print(
            f"{case.name + ', ' + what:34.34}{ours:10.1f}{theirs:10.1f}{ours / theirs:8.2f}{target:9.2f}"
            f"  {'met' if ours / theirs <= target else 'missed'}"
        )
    print(f"\n{'latency, ms':34}{'gateway':>18}{'Go proxy':>18}{'added':>18}")
    for case, costs in found.items():
        shown = [(median(costs[name], "p50"), median(costs[name], "p99")) for name in costs]
        (a, b), (c, d) = shown[1], shown[0]
        print(
            f"{case.name:34}{a * 1e3:9.1f}{b * 1e3:9.1f}{c * 1e3:9.1f}{d * 1e3:9.1f}"
            f"{(a - c) * 1e3:9.1f}{(b - d) * 1e3:9.1f}"
        )
    resident = max(cost.resident for costs in found.values() for cost in costs["gateway"])
    print(f"\nresident memory of the gateway: {resident / 2**20:.0f} MiB")
    kept = [
        {
            "case": asdict(case),
            "costs": {name: [asdict(c) for c in each] for name, each in costs.items()},
        }
        for case, costs in found.items()
    ]
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(
        json.dumps({"lines": lines, "cases": kept, "resident": resident}, indent=1) + "\n"
    )
    print(f"written to {RESULT.relative_to(HERE.parents[1])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
