"""What does a resize cost, and does it change what is learned? S6.

A job is resized 2 -> 1 -> 2 -> 4 while it trains, with rank 0 killed before the last, and the
same job trains unresized. The pause is from
`kubectl scale` to the end of the first step at the new size, split into what the promise leaves out
(checkpoint write, conversion, read, start of pods, imports) and the rest, which is to be at most 3 s.
Times are those of the API server's audit log and of log lines as the kubelet stamps them. The loss
of every step is compared with the unresized run's, in FP32: at most a thousandth apart.
"""

import json
import re
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from kubernetes import client

from e2e import cluster
from e2e.bench.resize_plot import plot
from e2e.cluster import Cluster
from e2e.clusters.choice import provider
from e2e.clusters.images import reference
from e2e.conftest import claim
from e2e.journeys.audit import read
from e2e.journeys.watching import pods, succeeded
from e2e.journeys.wishes import a_job
from e2e.kube import Json, Kube, condition, until
from e2e.seed import seed

BUILD = Path(__file__).resolve().parents[2] / "build/bench"
STEPS, APART = 240, 45
SIZES = (2, 1, 2, 4)
KILLED_BEFORE = 2  # of the resizes, from 0
INDEX = "batch.kubernetes.io/job-completion-index"
REST_TARGET, CURVE_TARGET = 3.0, 1e-3
LINE = re.compile(r"^(\S+) (?:\[rank 0\] )?(.*)$")
WORKERS = {"replicas": 2, "min": 1, "max": 4}


@dataclass(frozen=True, slots=True)
class Pause:
    """Seconds of one resize. ``start`` and ``converter`` are from a Job's creation to the process."""

    before: int
    after: int
    at_step: int
    total: float
    write: float
    converter: float
    conversion: float
    start: float
    imports: float
    read: float
    meeting: float
    data: float
    engine: float
    gate: float
    step: float

    @property
    def rest(self) -> float:
        """What the promise bounds."""
        left_out = (
            self.write,
            self.converter,
            self.conversion,
            self.start,
            self.imports,
            self.read,
        )
        return self.total - sum(left_out)


def lines(kube: Kube, namespace: str, pod: str) -> list[tuple[float, str]]:
    """Rank 0's log: seconds since 1970, and what was said."""
    text = client.CoreV1Api(kube.client.client).read_namespaced_pod_log(
        pod, namespace, timestamps=True
    )
    # Not splitlines: the converter's progress bar has carriage returns within a line.
    found = (LINE.match(line) for line in text.split("\n"))
    return [(datetime.fromisoformat(m[1]).timestamp(), m[2]) for m in found if m]


def says(log: list[tuple[float, str]], pattern: str) -> tuple[float, re.Match[str]]:
    """The last line that does, and when."""
    found = [(at, m) for at, words in log if (m := re.search(pattern, words))]
    return found[-1]


class Logs:
    """What rank 0 and the converter of each attempt said, kept beyond their pods."""

    def __init__(self, kube: Kube, namespace: str, name: str) -> None:
        self._kube, self._namespace, self._name = kube, namespace, name
        self.ranks: dict[int, list[tuple[float, str]]] = {}
        self.converters: dict[int, list[tuple[float, str]]] = {}
        self.newest = ""
        """Rank 0's pod of the newest attempt."""

    def read(self) -> None:
        """Takes up what is there now."""
        for pod in pods(self._kube, self._namespace, "trainingjob", self._name):
            labels, name = pod["metadata"]["labels"], pod["metadata"]["name"]
            if pod["status"].get("phase") == "Pending":
                continue
            if "preamar.dev/conversion" in labels:
                into, key = self.converters, int(labels["preamar.dev/conversion"])
            elif labels.get(INDEX) == "0" and "preamar.dev/attempt" in labels:
                into, key = self.ranks, int(labels["preamar.dev/attempt"])
                self.newest = name if key == max((*self.ranks, key)) else self.newest
            else:
                continue
            with suppress(client.ApiException):  # it may go as it is read, and its log before it
                said = lines(self._kube, self._namespace, name)
                into[key] = max(said, into.get(key, []), key=len)

    def trains(self, attempt: int) -> bool:
        """Whether an attempt has taken its first step from a checkpoint."""
        self.read()
        return any(words.startswith("went on from") for _, words in self.ranks.get(attempt, ()))

    def beyond(self, step: int) -> bool:
        """Whether the newest attempt has trained so far."""
        self.read()
        said = self.ranks[max(self.ranks)] if self.ranks else []
        steps = [int(m[1]) for _, words in said if (m := re.match(r"step=(\d+) ", words))]
        return max(steps, default=0) >= step

    def curve(self) -> dict[int, float]:
        """The loss of each step, as the attempt that counts had it."""
        found: dict[int, float] = {}
        for _, said in sorted(self.ranks.items()):
            for _, words in said:
                if m := re.match(r"step=(\d+) loss=(\S+) ", words):
                    found[int(m[1])] = float(m[2])
        return found


def trained(
    kube: Kube, here: Cluster, namespace: str, name: str, sizes: tuple[int, ...]
) -> tuple[Json, Logs, list[tuple[int, float]]]:
    """Train to the end, resized on the way. The job, what was said, and of each resize the attempt
    and when it was asked for."""
    kube.apply(a_job(name, steps=STEPS, workers=WORKERS), namespace)
    kubectl, logs = provider(here.provider).kubectl(), Logs(kube, namespace, name)
    asked: list[tuple[int, float]] = []
    attempt = 1

    for number, size in enumerate(sizes[1:]):
        until(f"{name} trains", 600, partial(logs.beyond, (number + 1) * APART))
        if number == KILLED_BEFORE:
            attempt += 1
            # Not its pod: that would be asked first, and save.
            kill = "kill -9 $(cat /proc/1/task/1/children)"
            kubectl("exec", logs.newest, f"-n={namespace}", "--", "sh", "-c", kill)
            until(f"{name} trains again", 300, partial(logs.trains, attempt))
        attempt += 1
        asked.append((attempt, time.time()))
        kubectl("scale", f"tjob/{name}", f"--replicas={size}", f"--namespace={namespace}")
        until(f"{name} trains with {size}", 300, partial(logs.trains, attempt))
    done = succeeded(kube, namespace, name, 900)
    logs.read()
    return done, logs, asked


def first_made(here: Cluster, namespace: str) -> dict[str, float]:
    """When each Job was first written."""
    found: dict[str, float] = {}
    for one in read(here):
        if one.resource == "jobs" and one.namespace == namespace and one.code in {200, 201}:
            found.setdefault(one.name, one.at.timestamp())
    return found


def pause(
    jobs: dict[str, float], logs: Logs, name: str, attempt: int, asked: float, sizes: Any
) -> Pause:
    """One resize, taken apart: the one that attempt ``attempt`` began with. ``jobs`` says when each
    Job was made."""
    old, new = logs.ranks[attempt - 1], logs.ranks[attempt]
    merging = logs.converters[attempt]
    _, saved = says(old, r"verified: .* in ([\d.]+) s")
    over, merged = says(merging, r"imports ([\d.]+) s, conversion ([\d.]+) s")
    ended, went = says(new, r"went on from step (\d+)")
    told, words = says(new, r"before that step: (.*)")
    parts = {
        part: float(seconds) for part, seconds in re.findall(r"([a-z ]+?) ([\d.]+) s", words[1])
    }
    parts = {part.strip(" ,"): seconds for part, seconds in parts.items()}
    begun = told - sum(parts.values())  # of rank 0's process
    imports, conversion = float(merged[1]), float(merged[2])
    return Pause(
        before=sizes[0],
        after=sizes[1],
        at_step=int(went[1]),
        total=ended - asked,
        write=float(saved[1]),
        converter=over - imports - conversion - jobs[f"{name}-{attempt}-convert"],
        conversion=imports + conversion,
        start=begun - jobs[f"{name}-{attempt}"],
        imports=parts["imports"],
        read=parts["read"],
        meeting=parts["meeting"],
        data=parts["data"],
        engine=parts["engine"],
        gate=parts["gate"],
        step=parts["first step"],
    )


def report(pauses: list[Pause], worst: float) -> bool:
    columns = [*Pause.__dataclass_fields__][3:]
    print("resize  " + "".join(f"{each:>11}" for each in (*columns, "rest")))
    for each in pauses:
        figures = (*(getattr(each, column) for column in columns), each.rest)
        print(f"{each.before} -> {each.after}  " + "".join(f"{one:>11.2f}" for one in figures))
    print(f"largest difference of a step's loss: {worst:.2e} of it")
    return all(each.rest <= REST_TARGET for each in pauses) and worst <= CURVE_TARGET


def main() -> int:
    """Measure on the cluster of `make up`; 1 if anything that was promised was not met."""
    here = cluster.read()
    if not here.audit_log:
        print(f"provider {here.provider}: the API server's log, which has the times, is not there")
        return 1
    kube, namespace = Kube(here.kubeconfig), f"resize-{uuid4().hex[:6]}"
    kube.namespace(namespace)
    try:
        for name in ("data", "checkpoints"):
            kube.apply(claim(name), namespace)
        seed(kube, namespace, "seed-books", reference("demo-text"), ["/target/books"], "data")
        done, logs, asked = trained(kube, here, namespace, "resized", SIZES)
        jobs = first_made(here, namespace)
        pauses = [
            pause(jobs, logs, "resized", attempt, at, SIZES[number : number + 2])
            for number, (attempt, at) in enumerate(asked)
        ]
        steady = trained(kube, here, namespace, "steady", SIZES[:1])[1].curve()
    finally:
        kube.delete("v1", "Namespace", namespace)
    resized = logs.curve()
    worst = max(abs(resized[step] / loss - 1) for step, loss in steady.items())
    good = report(pauses, worst)
    status = done["status"]
    result = {
        "pauses": [asdict(each) | {"rest": each.rest} for each in pauses],
        "largest_relative_difference": worst,
        "samples": status["samples"],
        "resizes": status["resizes"],
        "continuity": condition(done, "ContinuityVerified")["message"],
        "met": good and status["samples"]["skipped"] == status["samples"]["duplicated"] == 0,
    }
    BUILD.mkdir(parents=True, exist_ok=True)
    (BUILD / "resize.json").write_text(json.dumps(result, indent=1) + "\n")
    marks = [(each.at_step, f"{each.before} → {each.after}") for each in pauses]
    again = logs.ranks[asked[KILLED_BEFORE][0] - 1]
    marks.insert(KILLED_BEFORE, (int(says(again, r"went on from step (\d+)")[1][1]), "killed"))
    plot(BUILD / "resize.png", steady, resized, marks)
    print(f"wrote {BUILD / 'resize.json'} and {BUILD / 'resize.png'}")
    return 0 if result["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
