"""`make demo`: from a clean clone to the main job, each step timed, summed up in build/demo.json."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

from e2e import cluster
from e2e.demo.story import Figures, Story
from e2e.stages import PYTHON, ROOT

OUT = ROOT / "build/demo.json"


def line(figures: Figures) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items())


def tell(number: int, title: str, act: Callable[[], Figures], results: list[Figures]) -> bool:
    """Run one step, print its line, keep its object; False when it failed."""
    print(f"\n[{number}/5] {title}", flush=True)
    start = time.monotonic()
    try:
        figures, failure = act(), None
    except Exception as error:  # noqa: BLE001 - whatever it is, the summary must say it
        figures, failure = {}, f"{type(error).__name__}: {error}"
    seconds = round(time.monotonic() - start, 1)
    results.append(
        {"step": number, "title": title, "passed": failure is None, "seconds": seconds, **figures}
    )
    if failure:
        results[-1]["failure"] = failure
    print(f"      {'failed: ' + failure if failure else line(figures)} ({seconds} s)", flush=True)
    return failure is None


def main() -> int:
    began = float(os.environ.get("PREAMAR_BEGAN") or time.time())
    subprocess.run([PYTHON, "-m", "e2e.clusters", "up"], cwd=ROOT, check=True)
    story = Story(cluster.read())
    results: list[Figures] = []

    def first_answer() -> Figures:
        figures = story.first_answer()
        return {"seconds_since_start": round(time.time() - began, 1), **figures}

    steps: tuple[tuple[str, Callable[[], Figures]], ...] = (
        ("a service at zero replicas answers its first request", first_answer),
        ("replicas follow the queue to max and back to zero", story.follow_the_queue),
        ("DeepSpeed trains a language model on two ranks", story.train),
        ("an openai client streams a completion from what was trained", story.complete),
        ("the bill is what the clients counted", story.bill),
    )
    for number, (title, act) in enumerate(steps, 1):
        if not tell(number, title, act, results):
            break
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(results, indent=2) + "\n")
    good = sum(one["passed"] for one in results)
    print(f"\n{good} of {len(steps)} steps passed; the figures are in {OUT.relative_to(ROOT)}")
    print("The cluster is left up: `make down` removes it.", flush=True)
    return int(good != len(steps))


if __name__ == "__main__":
    sys.exit(main())
