"""``preamar quote``: memory, time, money and energy of a training job, before it runs.

Needs no cluster. Bad input is one sentence on stderr and exit code 2; a job that cannot run, or
not within its budget or time, is told with what to change and exit code 1.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from preamar.api.meta import problems
from preamar.api.training import TrainingJob
from preamar.cli.quote.table import table
from preamar.cli.usage import BadUsage
from preamar.core.capacity.hardware import SHIPPED, BadFleet, HardwareCatalog, read
from preamar.core.training.admission.affordable import refused
from preamar.core.training.admission.limits import stops
from preamar.core.training.backends.sizing_problem import SizingProblem
from preamar.core.training.backends.work import flops
from preamar.core.training.planner.advice import cannot_run
from preamar.core.training.planner.quote import Estimate, Speed, measured, quote, told
from preamar.core.training.planner.sizes import valid

MOST_BYTES = 4 * 1024**2


def run(arguments: Sequence[str]) -> int:
    """Run the command with the arguments after its name; returns the exit code."""
    given = _parser().parse_args(arguments)
    try:
        fleet = _fleet(given.fleet)
        jobs = _jobs(given.file)
        like = _like(given.like) if given.like else None
    except (BadUsage, BadFleet) as error:
        sys.stderr.write(f"preamar quote: {error}\n")
        return 2
    answers = [_answer(job, fleet, like, every=given.sizes) for job in jobs]
    if given.output == "json":
        told = [answer["json"] for answer in answers]
        sys.stdout.write(json.dumps(told[0] if len(told) == 1 else told, indent=2) + "\n")
    else:
        for answer in answers:
            sys.stdout.write(table(answer["name"], answer["quotes"], wide=given.output == "wide"))
    for answer in answers:
        if answer["problem"]:
            sys.stderr.write(f"preamar quote: {answer['name']}: {answer['problem']}\n")
    return 1 if any(answer["problem"] for answer in answers) else 0


def _answer(
    job: TrainingJob, fleet: HardwareCatalog, like: TrainingJob | None, *, every: bool
) -> dict[str, Any]:
    spec, terms = job.spec, SizingProblem.of(job.spec)
    speed = measured(job.status, None, None)
    if speed is None and like is not None:
        speed = _scaled(job, like)
    sizes = valid(terms) if every else (spec.workers.replicas,)
    quotes = [found for n in sizes if (found := quote(spec, n, fleet, speed)) is not None]
    asked = quote(spec, spec.workers.replicas, fleet, speed)
    impossible = cannot_run(terms, spec.workers.replicas)
    beyond = refused(job, asked, datetime.now(UTC))
    problem = stops(job) or (impossible.sentence if impossible else "")
    problem = problem or (beyond.sentence if beyond else "")
    return {
        "name": job.metadata.name or "(no name)",
        "quotes": quotes,
        "problem": problem,
        "json": {
            "job": job.metadata.name,
            "quotes": [_json(found, speed) for found in quotes],
            "problem": problem or None,
        },
    }


def _json(found: Estimate, speed: Speed | None) -> dict[str, Any]:
    step = found.step
    parts = {
        name: round(getattr(step, name), 6)
        for name in ("compute", "bubble", "layers", "stages", "gradients", "optimizer")
    } if step else None  # fmt: skip
    return {**told(found, speed), "ranks": found.ranks, "stepSeconds": parts}


def _scaled(job: TrainingJob, like: TrainingJob) -> Speed | None:
    """The speed of another job, taken over to this one by the FLOPs of their samples."""
    theirs = measured(like.status, None, None)
    ours, other = SizingProblem.of(job.spec).shape, SizingProblem.of(like.spec).shape
    if theirs is None or ours is None or other is None:
        return None
    return Speed(theirs.samples * flops(other) / flops(ours), theirs.ranks)


def _jobs(file: Path) -> list[TrainingJob]:
    jobs = [_job(each, str(file)) for each in _documents(file) if _is_job(each)]
    if not jobs:
        raise BadUsage(f"{file} holds no TrainingJob")
    return jobs


def _like(file: Path) -> TrainingJob:
    jobs = _jobs(file)
    if len(jobs) != 1 or measured(jobs[0].status, None, None) is None:
        raise BadUsage(
            f"{file} must hold one TrainingJob with a measured status.quote: kubectl get tjob NAME -o yaml"
        )
    return jobs[0]


def _fleet(file: Path | None) -> HardwareCatalog:
    if file is None:
        return SHIPPED
    documents = _documents(file)
    if len(documents) != 1:
        raise BadUsage(f"{file} must hold one document, with devices")
    return read(documents[0])


def _documents(file: Path) -> list[Any]:
    try:
        with sys.stdin if str(file) == "-" else file.open(encoding="utf-8") as stream:
            text = stream.read(MOST_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise BadUsage(f"{file} cannot be read: {error}") from None
    if len(text) > MOST_BYTES:
        raise BadUsage(f"{file} is larger than {MOST_BYTES // 1024**2} MiB")
    try:
        return [each for each in yaml.safe_load_all(text) if each is not None]
    except yaml.YAMLError as error:
        raise BadUsage(f"{file} is not YAML: {' '.join(str(error).split())}") from None


def _is_job(document: Any) -> bool:
    return isinstance(document, Mapping) and document.get("kind") == "TrainingJob"


def _job(document: Any, file: str) -> TrainingJob:
    try:
        return TrainingJob.model_validate(document)
    except ValidationError as error:
        raise BadUsage(f"{file}: {'; '.join(problems(error))}") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="preamar quote",
        description="What a training job needs before it runs: memory, time, money, energy. Needs no cluster.",
    )
    parser.add_argument(
        "-f", "--file", type=Path, required=True, metavar="JOB.yaml",
        help="one or more TrainingJobs; - reads them from stdin",
    )  # fmt: skip
    parser.add_argument(
        "--fleet", type=Path, metavar="FLEET.yaml",
        help="prices, and rows of accelerators that replace or add to the catalogue's",
    )  # fmt: skip
    parser.add_argument(
        "--like", type=Path, metavar="DONE.yaml",
        help="a TrainingJob that ran on the same machines, with its status: its speed replaces published figures",
    )  # fmt: skip
    parser.add_argument(
        "--sizes", action="store_true", help="every size from workers.min to workers.max that works"
    )
    parser.add_argument("-o", "--output", choices=("json", "wide"), help="instead of a table")
    return parser
