"""What does a fault cost a training job? R14's times, on the cluster of `make up`.

A job on two ranks is killed, hung and robbed of a pod while it trains: how long until the operator
knows, until the next attempt has taken a step, and how many steps are done again. From that, and from
what a save takes, comes the share of time that counts with one fault every three hours: saves each
sqrt(2 x save x 3 h), half of that interval done again on average (Young 1974), and the restart.
"""

import json
import math
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from uuid import uuid4

from e2e import cluster
from e2e.bench.resize import Logs
from e2e.cluster import Cluster
from e2e.clusters.choice import provider
from e2e.clusters.images import reference
from e2e.conftest import claim
from e2e.journeys.test_training_faults import a_rank_process
from e2e.journeys.watching import job, pods
from e2e.journeys.wishes import a_job
from e2e.kube import Kube, until
from e2e.seed import seed

RESULT = Path(__file__).resolve().parents[2] / "build/bench/faulted.json"
ROUNDS = 2
EVERY_STEPS, FIRST_STEPS = 40, 60
APART_SECONDS = 3 * 3600.0
DETECTED, RESTARTED, EFFECTIVE = 30.0, 60.0, 0.97


@dataclass(frozen=True, slots=True)
class Fault:
    """Seconds from the fault; steps that were done again, and seconds that a save took."""

    kind: str
    detected: float
    restarted: float
    again: int
    save: float
    steps_a_second: float


def killed(kube: Kube, here: Cluster, namespace: str, name: str, logs: Logs) -> None:
    """A rank's process ends without a word."""
    provider(here.provider).kubectl()(
        "exec", logs.newest, f"-n={namespace}", "--", "sh", "-c",
        "kill -9 $(cat /proc/1/task/1/children)",
    )  # fmt: skip


def robbed(_kube: Kube, here: Cluster, namespace: str, _name: str, logs: Logs) -> None:
    """A pod is deleted by force."""
    provider(here.provider).kubectl()(
        "delete", "pod", logs.newest, f"-n={namespace}", "--force", "--grace-period=0", "--wait=false"
    )  # fmt: skip


def hung(kube: Kube, _here: Cluster, namespace: str, name: str, _logs: Logs) -> None:
    """A rank stands still."""
    os.kill(a_rank_process(pods(kube, namespace, "trainingjob", name)), signal.SIGSTOP)


FAULTS = {"a rank is killed": killed, "a pod is deleted": robbed, "a rank hangs": hung}


def faulted(kube: Kube, here: Cluster, namespace: str, kind: str, number: int) -> Fault:
    """One job, one fault."""
    name = f"fault-{number}"
    wish = a_job(name, steps=100_000, checkpoint={"everySteps": EVERY_STEPS})
    kube.apply(wish, namespace)
    logs = Logs(kube, namespace, name)
    until(f"{name} has trained", 300, partial(logs.beyond, FIRST_STEPS))
    before = (job(kube, namespace, name) or {})["status"]
    at = time.time()
    FAULTS[kind](kube, here, namespace, name, logs)

    def known() -> bool:
        status = (job(kube, namespace, name) or {})["status"]
        noticed = status.get("attempt", 1) > before["attempt"] or status.get("failure")
        return bool(noticed) or status["goodput"].get("faults", 0) > 0

    until("it is known", 120, known, every=0.1)
    detected = time.time() - at
    until("it goes on", 300, partial(logs.trains, before["attempt"] + 1), every=0.5)
    logs.read()
    after = logs.ranks[before["attempt"] + 1]
    went, words = next((t, w) for t, w in after if w.startswith("went on from"))
    resumed = int(words.split("step ")[1].split()[0])
    reached = max(
        (int(w.split()[0][5:]) for t, w in logs.ranks[before["attempt"]]
         if w.startswith("step=") and t <= at + 30),
        default=resumed,
    )  # fmt: skip
    speed = steps_a_second(logs, before["attempt"])
    save = float(((job(kube, namespace, name) or {})["status"]["checkpoint"]).get("saveSeconds", 0))
    kube.delete("preamar.dev/v1alpha1", "TrainingJob", name, namespace)
    until(f"{name} is gone", 120, lambda: not pods(kube, namespace, "trainingjob", name))
    return Fault(kind, detected, went - at, max(0, reached - resumed), save, speed)


def steps_a_second(logs: Logs, attempt: int) -> float:
    """Of an attempt, as its log has it."""
    told = [(t, int(w.split()[0][5:])) for t, w in logs.ranks[attempt] if w.startswith("step=")]
    (first, begun), (last, ended) = told[0], told[-1]
    return (ended - begun) / (last - first)


def effective(faults: list[Fault]) -> float:
    """The share of time that counts, at one fault every three hours."""
    save = max(each.save for each in faults)
    restart = sum(each.restarted for each in faults) / len(faults)
    interval = math.sqrt(2 * save * APART_SECONDS)
    lost = save / interval + (interval / 2 + restart) / APART_SECONDS
    return 1 - lost


def main() -> int:
    """1 if a promise was not met."""
    here = cluster.read()
    kube, namespace = Kube(here.kubeconfig), f"faulted-{uuid4().hex[:6]}"
    kube.namespace(namespace)
    found: list[Fault] = []
    try:
        for name in ("data", "checkpoints"):
            kube.apply(claim(name), namespace)
        seed(kube, namespace, "seed-books", reference("demo-text"), ["/target/books"], "data")
        for kind in FAULTS:
            for _ in range(ROUNDS):
                each = faulted(kube, here, namespace, kind, len(found))
                found.append(each)
                print(
                    f"{each.kind:18} known after {each.detected:5.1f} s, a step after "
                    f"{each.restarted:5.1f} s, {each.again} of {EVERY_STEPS} steps again, "
                    f"a save takes {each.save:.2f} s",
                    flush=True,
                )
    finally:
        kube.delete("v1", "Namespace", namespace)
    share = effective(found)
    met = {
        "detected": max(each.detected for each in found) <= DETECTED,
        "restarted": max(each.restarted for each in found) <= RESTARTED,
        "interval": all(each.again <= EVERY_STEPS for each in found),
        "effective": share >= EFFECTIVE,
    }
    print(f"time that counts at one fault every 3 h: {share:.2%} (promised {EFFECTIVE:.0%})")
    for what, held in met.items():
        print(f"  {what}: {'met' if held else 'missed'}")
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    kept = {"faults": [asdict(each) for each in found], "effective": share, "met": met}
    RESULT.write_text(json.dumps(kept, indent=1) + "\n")
    return int(not all(met.values()))


if __name__ == "__main__":
    sys.exit(main())
