"""``preamar plot``: the loss curve of a training job, from what is kept beside its checkpoints.

While rank 0 runs its agent shows the curve; afterwards it is ``losses.csv`` on the checkpoint
volume. Needs matplotlib, which the operator's image does without.
"""

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from preamar.cli.look import common
from preamar.cli.look.row import LossPoint

MOST_BYTES = 16 * 2**20


class BadCurve(Exception):
    """A file that is no curve; the message says where."""


def run(arguments: Sequence[str]) -> int:
    """Run the command with the arguments after its name; returns the exit code."""
    parser = common.parser("plot", "The loss curve of a TrainingJob.")
    parser.add_argument("name", nargs="?", help="of a TrainingJob that runs")
    parser.add_argument(
        "--file", type=Path, action="append", default=[], metavar="losses.csv",
        help="from the checkpoint volume, instead of a running job; several are drawn together",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.png")
    given = parser.parse_args(arguments)
    if bool(given.name) == bool(given.file):
        parser.error("name a TrainingJob, or files with --file")
    if given.name:
        return common.run("plot", given, lambda client, space: _of_job(client, space, given))
    try:
        curves = {str(file): parse(_text(file), str(file)) for file in given.file}
    except (BadCurve, OSError) as error:
        sys.stderr.write(f"preamar plot: {error}\n")
        return common.USAGE
    return _draw(given, curves)


async def _of_job(client: Any, namespace: str, given: argparse.Namespace) -> int:
    from preamar.cluster.reading import listed, served
    from preamar.protocol import ports
    from preamar.protocol.labels import ATTEMPT_LABEL, JOB_LABEL

    job = await common.job_named(client, namespace, given.name)
    if job is None:
        raise common.Missing(f"there is no TrainingJob {given.name!r} in namespace {namespace}")
    selector = f"{JOB_LABEL}={given.name},{ATTEMPT_LABEL}={job.status.attempt or 0}"
    selector += ",batch.kubernetes.io/job-completion-index=0"
    pods = await listed(client, "v1", "pods", namespace, selector)
    running = [p for p in pods if (p.get("status") or {}).get("phase") == "Running"]
    if not running:
        raise common.Missing(
            f"rank 0 of {given.name} does not run: copy losses.csv from {job.spec.checkpoint.uri} "
            "and name it with --file"
        )
    pod = running[0]["metadata"]["name"]
    data = await served(client, namespace, pod, ports.AGENT, "losses")
    try:
        return _draw(given, {given.name: parse(data.decode(errors="replace"), given.name)})
    except BadCurve as error:
        raise common.Missing(str(error)) from None


def parse(text: str, name: str) -> list[LossPoint]:
    """The rows of a curve. Raises ``BadCurve``."""
    rows = []
    for number, row in enumerate(csv.DictReader(io.StringIO(text)), 2):
        try:
            rows.append(
                LossPoint(
                    int(row["step"]), float(row["loss"]), int(row["ranks"]), int(row["attempt"])
                )
            )
        except (KeyError, TypeError, ValueError):
            raise BadCurve(
                f"{name}, line {number}: a row is step,loss,time,ranks,attempt"
            ) from None
    if not rows:
        raise BadCurve(f"{name} has no steps yet")
    return rows


def _text(file: Path) -> str:
    with file.open(encoding="utf-8", errors="replace") as stream:
        return stream.read(MOST_BYTES)


def _draw(given: argparse.Namespace, curves: dict[str, list[LossPoint]]) -> int:
    try:
        from preamar.cli.look.curve import draw
    except ModuleNotFoundError as error:
        if error.name not in {"numpy", "matplotlib"}:
            raise
        sys.stderr.write(
            f"preamar plot: {error.name} is not installed: pip install numpy matplotlib, or make setup in a clone\n"
        )
        return common.FAILED
    try:
        draw(given.out, curves)
    except OSError as error:
        sys.stderr.write(f"preamar plot: {given.out} cannot be written: {error}\n")
        return common.FAILED
    last = {name: rows[-1] for name, rows in curves.items()}
    for name, row in last.items():
        sys.stdout.write(f"{name}: {row.step} steps, loss {row.loss:.4f}; drawn to {given.out}\n")
    return common.DONE
