"""What `make up` does, in order, whichever kind of cluster it is.

The node and the images are made side by side. What the first answer does not need (DNS, the trainer's
image) is made afterwards by a process of its own, and whoever needs it waits for it.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from e2e.clusters import gobuild, helm, images, keys
from e2e.clusters.kubectl import Kubectl
from e2e.clusters.places import CACHE, CLUSTER_JSON, ROOT, identity
from e2e.clusters.port import Endpoints, Provider
from e2e.clusters.run import end_all
from e2e.clusters.say import TroubleError, say, step

LATER = ROOT / "build/later.pids"
GPUS = "nvidia.com/gpu"
WORKLOADS = {"triton": "triton", "deepspeed": "deepspeed"}


def up(provider: Provider, without_chart: bool) -> None:
    """From whatever there is to a cluster that answers, and build/cluster.json."""
    provider.check()
    with gobuild.lock(
        CACHE / f"up-{provider.name}.lock", "waiting for another `make up` on this machine"
    ):
        now = (
            () if without_chart else tuple(one.name for one in images.available() if not one.later)
        )
        together(provider.start, lambda: built(provider, now))
        kubectl = provider.kubectl()
        fake_gpus(kubectl)
        endpoints, key = Endpoints("", "", ""), ""
        if not without_chart:
            for name in now:
                load(provider, name)
            endpoints, key = install(provider, kubectl)
        write(provider, endpoints, key)
    afterwards(without_chart)


def alone() -> AbstractContextManager[None]:
    """One `up` or `down` of a clone at a time."""
    return gobuild.lock(
        CACHE / f"locks/{identity()}.lock", "waiting for another `up` or `down` of this clone"
    )


def together(*tasks: Callable[[], None]) -> None:
    """Run side by side; the first failure ends the others and is the one told."""
    with ThreadPoolExecutor(len(tasks), thread_name_prefix="up") as pool:
        begun = [pool.submit(one) for one in tasks]
        try:
            done, others = wait(begun, return_when=FIRST_EXCEPTION)
            if others:
                end_all()
        except (SystemExit, KeyboardInterrupt):
            end_all()  # told to stop: the pool would wait for builds to finish
            raise
    for task in (*done, *others):
        task.result()


def built(provider: Provider, names: Sequence[str]) -> None:
    """Build what the host provider will load; the others build with their engine when they load."""
    if provider.name == "host":
        for name in names:
            images.ensure(name)


def values(provider: Provider) -> dict[str, Any]:
    """The chart's values: each image by its own tag, so that a change rolls only what it concerns."""
    there = {one.name for one in images.available()}
    more = provider.values()
    # An hour is long where people try things out: what is charged is compared every 20 s.
    gateway = more.pop("gateway", {}) | {"extraArgs": ["--reconcile-seconds=20"]}
    return {
        "image": {"registry": images.registry(), "tag": images.tag("operator")},
        "workloads": {
            key: images.reference(name) for key, name in WORKLOADS.items() if name in there
        },
        "gateway": gateway,
        **more,
    }


def install(provider: Provider, kubectl: Kubectl) -> tuple[Endpoints, str]:
    keys.prepare(kubectl, provider.secrets)
    with step("installing the chart and waiting for operator and gateway"):
        try:
            helm.upgrade(provider.kubeconfig, values(provider))
        except TroubleError as error:
            raise TroubleError(f"{error}\n{pods(kubectl)}") from None
        endpoints = provider.endpoints()
        keys.wait_gateway(endpoints.gateway, endpoints.admin)
    return endpoints, str(keys.issue(endpoints.gateway, endpoints.admin))


def pods(kubectl: Kubectl) -> str:
    """What stands in the way of the release, as kubectl shows it."""
    try:
        listed = kubectl("get", "pods", "--namespace=preamar-system")
        logs = kubectl(
            *("logs", "--namespace=preamar-system", "--selector=app.kubernetes.io/name=preamar"),
            *("--tail=8", "--all-containers", "--prefix"),
        )
    except TroubleError as error:
        return str(error)
    return f"{listed}{logs}"


def fake_gpus(kubectl: Kubectl) -> None:
    """Tell the scheduler of GPUs that are not there; the kubelet keeps what no plugin registered."""
    count = os.environ.get("PREAMAR_FAKE_GPUS")
    if not count:
        return
    if not count.isdigit():
        raise TroubleError(f"PREAMAR_FAKE_GPUS={count} is not a number.")
    patch = json.dumps({"status": {"capacity": {GPUS: count}}})
    for node in kubectl("get", "nodes", "--output=name").split():
        kubectl("patch", node, "--subresource=status", "--type=merge", f"--patch={patch}")
    say(f"{count} {GPUS} patched onto the node: scheduling is real, the devices are not")


def write(provider: Provider, endpoints: Endpoints, key: str) -> None:
    found = {
        "kubeconfig": str(provider.kubeconfig),
        "gateway_url": endpoints.gateway,
        "grpc_url": endpoints.grpc,
        "admin_url": endpoints.admin,
        "admin_key_file": str(keys.ADMIN_FILE) if key else "",
        "key_file": key,
        "provider": provider.name,
        "audit_log": str(provider.audit_log or ""),
    }
    CLUSTER_JSON.parent.mkdir(exist_ok=True)
    making = CLUSTER_JSON.with_suffix(".making")
    making.write_text(json.dumps(found, indent=2) + "\n")
    making.rename(CLUSTER_JSON)
    print(json.dumps(found, indent=2), flush=True)


def afterwards(without_chart: bool) -> None:
    """Begin what is needed later, without making anybody wait now."""
    log = CACHE / "logs/later.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    arguments = ["later", *(["--without-images"] if without_chart else [])]
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["nice", sys.executable, "-m", "e2e.clusters", *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    with LATER.open("a") as file:
        file.write(f"{process.pid}\n")


def end_later(seconds: float = 15.0) -> None:
    """End what is still being made for the cluster, before the cluster goes."""
    pids = [int(line) for line in LATER.read_text().split()] if LATER.exists() else []
    deadline = time.monotonic() + seconds
    for pid in pids:
        while is_later(pid) and time.monotonic() < deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            time.sleep(0.2)
    LATER.unlink(missing_ok=True)


def is_later(pid: int) -> bool:
    """Whether a process is one that `afterwards` began, of this clone and not ended."""
    try:
        place = Path(f"/proc/{pid}/cwd").readlink()
        return place == ROOT and b"e2e.clusters\0later" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def later(provider: Provider, without_images: bool) -> None:
    """DNS first: it is quick, and training needs both."""
    provider.dns()
    for one in () if without_images else images.available():
        if one.later:
            ready(provider, one.name)


def ready(provider: Provider, name: str) -> None:
    """Build and load one image, or wait for whoever does."""
    built(provider, [name])
    load(provider, name)


def load(provider: Provider, name: str) -> None:
    """One at a time: what is made later and whoever waits for it would both copy a gigabyte."""
    with gobuild.lock(
        CACHE / f"locks/{identity()}-{name}.lock", f"waiting until image {name} is loaded"
    ):
        provider.load(images.reference(name))


def down(provider: Provider) -> None:
    """Remove the cluster and what `up` wrote into the clone."""
    end_later()
    with alone():
        provider.stop()
    for path in (CLUSTER_JSON, keys.KEY_FILE, keys.ADMIN_FILE):
        path.unlink(missing_ok=True)
    say("the cluster is gone")
