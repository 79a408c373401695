"""``preamar top``: how far training jobs are, and what services do, at a glance."""

import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Any

from preamar.api.inference import InferenceService
from preamar.api.training import TrainingJob
from preamar.cli.look import common
from preamar.core.training.admission.affordable import in_time
from preamar.core.training.attempts.goodput import ratio

CLEAR = "\x1b[H\x1b[2J"
NONE = "-"


def run(arguments: Sequence[str]) -> int:
    """Run the command with the arguments after its name; returns the exit code."""
    parser = common.parser("top", "How far TrainingJobs are, and what InferenceServices do.")
    parser.add_argument("-A", "--all-namespaces", action="store_true")
    parser.add_argument(
        "-w", "--watch", type=float, metavar="S", help="again every so many seconds, until Ctrl-C"
    )
    parser.add_argument("-o", "--output", choices=("json", "wide"))
    given = parser.parse_args(arguments)
    if given.watch is not None and given.watch < 0.5:
        parser.error("--watch must be at least 0.5 seconds")

    async def act(client: Any, namespace: str) -> int:
        while True:
            found = await common.all_of(client, "" if given.all_namespaces else namespace)
            text = (
                _json(*found) if given.output == "json" else screen(*found, given.output == "wide")
            )
            if given.watch is not None and sys.stdout.isatty():
                sys.stdout.write(CLEAR)
            sys.stdout.write(text)
            sys.stdout.flush()
            if given.watch is None:
                return common.DONE
            await asyncio.sleep(given.watch)

    return common.run("top", given, act)


def screen(
    jobs: Sequence[TrainingJob], services: Sequence[InferenceService], wide: bool = False
) -> str:
    """Two tables, each left out where it would be empty."""
    if not jobs and not services:
        return "There is no TrainingJob and no InferenceService.\n"
    parts = []
    if jobs:
        head = ["TRAINING", "STATE", "WORKERS", "STEP", "LOSS", "SAMPLES/S", "LEFT", "COST"]
        rows = [_job(job) for job in jobs]
        if wide:
            head += ["USEFUL", "CHECKPOINT", "RESTARTS", "INTERCONNECT"]
            rows = [row + _more(job) for row, job in zip(rows, jobs, strict=True)]
        parts.append(aligned([head, *rows]))
    if services:
        head = ["SERVING", "STATE", "READY", "WANTED", "WHY", "SIGNAL"]
        parts.append(aligned([head, *(_service(each) for each in services)]))
    return "\n".join(parts)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """The rows with their columns one below the other."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, ""])


def _job(job: TrainingJob) -> list[str]:
    status, progress = job.status, job.status.progress
    cost = status.quote and status.quote.cost
    left = progress.eta_seconds if progress else None
    return [
        _name(job),
        _state(job, ("Succeeded", "Suspended", "Stalled", "Running")),
        f"{status.workers or 0}/{job.spec.workers.replicas}",
        f"{progress.step if progress else 0}/{job.spec.steps}",
        (progress and progress.loss) or NONE,
        (progress and progress.samples_per_second) or NONE,
        in_time(left) if left is not None else NONE,
        f"{cost} {status.quote.currency}" if cost and status.quote else NONE,
    ]


def _more(job: TrainingJob) -> list[str]:
    status = job.status
    useful = ratio(status.goodput) if status.goodput else None
    return [
        f"{useful:.0%}" if useful is not None else NONE,
        str(status.checkpoint.step) if status.checkpoint else NONE,
        str(status.restarts or 0),
        status.interconnect.used if status.interconnect else NONE,
    ]


def _service(service: InferenceService) -> list[str]:
    status = service.status
    decision = status.decision
    return [
        _name(service),
        _state(service, ("Ready",)),
        str(status.ready_replicas or 0),
        str(service.spec.replicas),
        (decision and decision.reason) or NONE,
        (decision and decision.signal) or NONE,
    ]


def _name(resource: TrainingJob | InferenceService) -> str:
    return f"{resource.metadata.namespace}/{resource.metadata.name}"


def _state(resource: TrainingJob | InferenceService, order: Sequence[str]) -> str:
    """The reason of the first of these conditions that is true; else that of the last."""
    conditions = {each.type: each for each in resource.status.conditions}
    for kind in order:
        found = conditions.get(kind)
        if found is not None and found.status == "True":
            return found.reason
    last = conditions.get(order[-1])
    return last.reason if last else "Unknown"


def _json(jobs: Sequence[TrainingJob], services: Sequence[InferenceService]) -> str:
    def told(each: TrainingJob | InferenceService) -> dict[str, Any]:
        status = each.status.model_dump(by_alias=True, exclude_none=True, mode="json")
        return {"namespace": each.metadata.namespace, "name": each.metadata.name, "status": status}

    words = {"training": [told(j) for j in jobs], "serving": [told(s) for s in services]}
    return json.dumps(words, indent=2) + "\n"
