"""``make faults-operator``: crash the operator before and after its writes; nothing may be lost.

SHARD=i/n does every n-th point from the i-th; shards may run at once or one after the other, and
build/faults-operator.json has the points of all of them. RESUME=1 keeps what passed before with these sources.
MOST=n bounds the points. BUG=name plants a bug, and the sweep must fail; BUG=all tries each.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import yaml

from e2e.clusters import gobuild, pki
from e2e.clusters.bare import api_server
from e2e.faults import results, sweep
from e2e.faults.bugs import BUGS
from e2e.faults.operators import preload
from e2e.faults.proxy import Point, client_context
from e2e.faults.results import KEPT, ROOT, Plan, Shard
from e2e.faults.sweep import KEY, Bench, Run
from e2e.faults.workloads import WORKLOADS
from e2e.faults.world import World


def main() -> int:
    """Sweep; 0 if every point passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shard", default="1/1")
    parser.add_argument("--most", type=int, default=40, help="points over all workloads")
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--bug", default="", choices=["", "all", *BUGS])
    parser.add_argument("--workload", default="", choices=["", *WORKLOADS])
    given = parser.parse_args()
    try:
        shard = Shard.parse(given.shard)
    except ValueError as error:
        parser.error(str(error))
    preload()
    home = Path(tempfile.mkdtemp(prefix="preamar-faults-"))
    try:
        with api_server(controllers=True) as config:
            if given.bug:
                names = list(BUGS) if given.bug == "all" else [given.bug]
                return asyncio.run(_teeth(given, config, home, names))
            return asyncio.run(_sweep(given, shard, config, home))
    finally:
        shutil.rmtree(home, ignore_errors=True)


async def _sweep(given: argparse.Namespace, shard: Shard, config: Path, home: Path) -> int:
    bench = await _bench(config, home)
    began = time.monotonic()
    plan = await _plan(given, bench)
    mine = plan.of(shard)
    print(f"shard {shard}: {len(mine)} of {len(plan.points)} points", flush=True)
    verdicts = await _points(given, bench, plan, mine)
    report = results.merged(plan)
    out = results.write(report)
    told = {verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))}
    print(f"shard {shard}: {told} in {time.monotonic() - began:.0f} s")
    print(f"all shards: {report['verdicts']}, written to {out.relative_to(ROOT)}")
    return 1 if "failed" in verdicts or "passed" not in verdicts else 0


async def _plan(given: argparse.Namespace, bench: Bench) -> Plan:
    """The plan of these sources; whoever asks first makes it, and shards at once wait for it."""
    names = [given.workload] if given.workload else list(WORKLOADS)
    key = results.key(names, given.most)
    with gobuild.lock(KEPT / "plan.lock", "waiting for another shard's plan"):
        if (made := results.load(key)) is not None:
            return made
        wanted: dict[str, Run] = {}
        points: list[tuple[str, Point]] = []
        for name in names:
            first, second = await _fault_free(bench, name)
            wanted[name] = first
            found = sweep.points(first, second, given.most // len(names))
            points += [(name, point) for point in found]
            print(f"{name}: {len(first.writes)} writes, {len(found)} points", flush=True)
        plan = Plan(key, wanted, tuple(points))
        results.save(plan)
        return plan


async def _points(
    given: argparse.Namespace, bench: Bench, plan: Plan, mine: tuple[tuple[str, Point], ...]
) -> list[str]:
    """The verdicts of these points."""
    allowed = asyncio.Semaphore(given.at_once)

    async def one(name: str, point: Point) -> str:
        before = results.known(plan, name, point) if given.resume else None
        if before is not None and before["verdict"] == "passed":
            print(f"{'passed':12}before    {name}  {point}", flush=True)
            return "passed"
        async with allowed:
            result = await sweep.run(bench, name, point, plan.wanted[name])
        results.remember(plan, result)
        told = "".join(f"\n    {problem}" for problem in result.problems[:6])
        print(f"{result.verdict:12}{result.seconds:6.1f} s  {name}  {point}{told}", flush=True)
        return result.verdict

    return await asyncio.gather(*(one(*each) for each in mine))


async def _fault_free(bench: Bench, name: str) -> tuple[Run, Run]:
    first = await sweep.run(bench, name, None, None)
    second = await sweep.run(bench, name, None, first)
    for result in (first, second):
        if result.problems:
            raise SystemExit(f"{name} fails without a fault:\n" + "\n".join(result.problems))
    return first, second


async def _teeth(given: argparse.Namespace, config: Path, home: Path, names: list[str]) -> int:
    """Each planted bug must be caught: by a run without a fault, or by a crash after a write."""
    good = await _bench(config, home)
    missed = []
    wanted = {name: (await _fault_free(good, name))[0] for name in WORKLOADS}
    for bug in names:
        bad = Bench(good.server, good.pki, good.proxy_pki, good.directory, good.logs, bug)
        caught = ""
        for name, reference in wanted.items():
            if bug == "delete-unconditional" and not any("DELETE" in w for w in reference.writes):
                continue  # nothing that it could do wrong
            writes = [w for w in reference.writes if "/status" not in w and "events" not in w]
            tried = [None, *(Point(write, "after") for write in writes)]
            for point in tried:
                result = await sweep.run(bad, name, point, reference)
                if result.problems:
                    caught = f"{name}, {point or 'no fault'}: {result.problems[0]}"
                    break
            if caught:
                break
        print(f"{bug}: {'caught by ' + caught if caught else 'NOT caught'}", flush=True)
        missed += [] if caught else [bug]
    return 1 if missed else 0


async def _bench(config: Path, home: Path) -> Bench:
    """Certificates for the proxy, our CRDs on the server."""
    server = _server(config)
    directory = home / "runs"
    pki.order(gobuild.kube(), home / "pki", (pki.apiserver(), pki.ADMIN))
    directory.mkdir()
    (KEPT / "logs").mkdir(parents=True, exist_ok=True)
    (directory / "internal-key").write_text(KEY)
    bench = Bench(server, config.parent / "pki", home / "pki", directory, KEPT / "logs")
    connector = aiohttp.TCPConnector(ssl=client_context(bench.pki))
    async with aiohttp.ClientSession(connector=connector) as session:
        world = World(server, session, "default")
        for file in sorted((ROOT / "crds").glob("*.yaml")):
            await world.call(
                "POST",
                "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
                yaml.safe_load(file.read_text()),
            )

        async def served() -> bool:
            found = await world.call("GET", "/apis/preamar.dev/v1alpha1")
            names = {resource["name"] for resource in (found or {}).get("resources", ())}
            return {"inferenceservices", "trainingjobs"} <= names

        await world.until("the CRDs are served", served)
    return bench


def _server(config: Path) -> str:
    return str(json.loads(config.read_text())["clusters"][0]["cluster"]["server"])


if __name__ == "__main__":
    sys.exit(main())
