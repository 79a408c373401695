"""``make faults-training``: kill a training rank at each file operation of its checkpoints, and resume.

SHARD=i/n does every n-th point from the i-th, RESUME=1 keeps what passed before with these sources,
MOST=n bounds the points, RANKS=2 kills in a gang of two, BUG=name plants a bug that must be found.
Writes build/faults-training.json; the shares of all shards and ranks are in it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

from e2e.clusters import buildah, images
from e2e.faults.checkpoints.effective import effective
from e2e.faults.results import ROOT, Shard

HERE = Path(__file__).parent
KEPT = ROOT / "build/faults-training"
OUT = ROOT / "build/faults-training.json"
TRIED = (
    *("workloads/deepspeed/preamar_train/**/*.py", "workloads/common/**/*.py"),
    "e2e/faults/checkpoints/*",
)
Edit = tuple[str, str, str]
"""A file, what stands there, and what the bug makes of it."""
BUGS: dict[str, tuple[Edit, ...]] = {
    # Either alone does no harm: what is not durable is found damaged, what is durable is whole.
    "unsynced-and-trusted": (
        (
            "checkpoint/manifest.py",
            "os.fsync(stream.fileno())\n            os.posix_fadvise",
            "os.posix_fadvise",
        ),
        ("checkpoint/store.py", "manifests.verify(folder), tuple", "manifests.read(folder), tuple"),
    ),
    "prunes-first": (
        (
            "steps.py",
            "    run.saved = checkpoints.save(",
            "    list(map(__import__('shutil').rmtree, run.store.folders()))\n    run.saved = checkpoints.save(",
        ),
    ),
    "leaves-torn": (("checkpoint/store.py", "shutil.rmtree(left, ignore_errors=True)", "pass"),),
}
INNER = """
set -e
mount --make-rprivate /
mount --bind $0 $0
mount -t proc proc $0/proc
mount --rbind /dev $0/dev
mount -t tmpfs -o mode=1777,size=4g tmpfs $0/dev/shm
mount -t tmpfs -o mode=1777 tmpfs $0/tmp
mount --bind $1 $0/mnt/checkpoint
if [ -d $1/preamar_train ]; then mount --bind $1/preamar_train $0/opt/preamar/preamar_train; fi
exec chroot --userspec=1000:1000 $0 env -i "${@:2}" LD_PRELOAD=/mnt/checkpoint/shim.so \
  OMP_NUM_THREADS=1 GLOO_SOCKET_IFNAME=lo /opt/venv/bin/python /mnt/checkpoint/inside.py
"""


class Inside:
    """A process in the image's file system that tries points."""

    def __init__(self, root: Path, env: list[str], home: Path) -> None:
        words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", INNER]
        self.process = subprocess.Popen(
            [*words, str(root), str(home), *env],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **task: Any) -> dict[str, Any]:
        """The answer to a task. Raises ``RuntimeError`` if the process ends without one."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("="):
                found: dict[str, Any] = json.loads(line[1:])
                return found
        raise RuntimeError(f"the ranks' process ended with {self.process.wait()}")


def problems(found: dict[str, Any], reference: dict[str, Any], ranks: int) -> list[str]:
    """What is wrong with a run that was killed and resumed."""
    if not found["reached"]:
        return []
    wrong = []
    if found["codes"] != [0] * ranks:
        wrong.append(f"the resumed run ended with {found['codes']}: {found['log'][-600:]}")
    if found["from"] not in found["wholeBefore"]:
        wrong.append(f"it resumed from step {found['from']}; whole were {found['wholeBefore']}")
    elif found["from"] != max(found["wholeBefore"]):
        wrong.append(f"it resumed from {found['from']} and not from {max(found['wholeBefore'])}")
    if (found["from"] or 0) < 4:
        wrong.append(f"more than one interval was lost: from step {found['from']}")
    wrong += [
        f"{what} is {found[what]}, without a fault {reference[what]}"
        for what in ("digest", "whole", "left", "latest")
        if found[what] != reference[what]
    ]
    return wrong


def key(bug: str) -> str:
    """Changes with all that decides how a point ends."""
    digest = sha256(bug.encode())
    for file in sorted(f for pattern in TRIED for f in ROOT.glob(pattern) if f.is_file()):
        digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def main() -> int:
    """Sweep; 0 if every point passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shard", default="1/1")
    parser.add_argument("--ranks", type=int, default=1, choices=(1, 2))
    parser.add_argument("--most", type=int, default=10_000)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--bug", default="", choices=["", *BUGS])
    given = parser.parse_args()
    shard, name = Shard.parse(given.shard), images.ensure("deepspeed")
    container = buildah.run("from", "--pull-never", name, timeout=120).strip()
    home = Path(tempfile.mkdtemp(prefix="preamar-faults-"))
    try:
        config = json.loads(buildah.run("inspect", container, timeout=60))
        root = Path(buildah.run("mount", container, timeout=60).strip())
        _furnish(home, root, given.bug)
        inside = Inside(root, config["OCIv1"]["config"]["Env"], home)
        try:
            return _sweep(given, shard, inside)
        finally:
            inside.process.kill()
            inside.process.wait()
    finally:
        buildah.run("rm", container, timeout=60)
        shutil.rmtree(home, ignore_errors=True)


def _furnish(home: Path, root: Path, bug: str) -> None:
    shim = ["cc", "-shared", "-fPIC", "-O2", "-o", str(home / "shim.so"), str(HERE / "shim.c")]
    subprocess.run([*shim, "-ldl"], check=True)
    shutil.copy(HERE / "inside.py", home)
    (home / "data").mkdir()
    for text in (root / "usr/share/common-licenses").iterdir():
        if not text.is_symlink():
            shutil.copy(text, home / f"data/{text.name}.txt")
    if bug:
        copy = home / "preamar_train"
        shutil.copytree(ROOT / "workloads/deepspeed/preamar_train", copy)
        for file, was, now in BUGS[bug]:
            text = (copy / file).read_text()
            assert was in text, f"{bug}: {file} has changed"
            (copy / file).write_text(text.replace(was, now))
    for path in (home, *home.rglob("*")):
        os.chown(path, 1000, 1000)


def _sweep(given: argparse.Namespace, shard: Shard, inside: Inside) -> int:
    begun = time.monotonic()
    folder = KEPT / key(given.bug)
    folder.mkdir(parents=True, exist_ok=True)
    plan = inside.ask(do="begin", ranks=given.ranks)
    all_points = plan["points"]
    spread = max(1, -(-len(all_points) // given.most))
    mine = all_points[::spread][shard.index - 1 :: shard.of]
    print(
        f"shard {shard}: {len(mine)} of {len(all_points)} points, ranks: {given.ranks}", flush=True
    )
    failed = 0
    for rank, at, name, side in mine:
        file = folder / f"{given.ranks}-{rank}-{at:04}-{side}.json"
        before = json.loads(file.read_text()) if given.resume and file.is_file() else {}
        if before.get("verdict") == "passed":
            continue
        point = {"ranks": given.ranks, "victim": rank, "at": at, "side": side}
        found = inside.ask(do="point", point=point)
        wrong = problems(found, plan["reference"], given.ranks)
        verdict = "failed" if wrong else "passed" if found["reached"] else "not reached"
        failed += verdict == "failed"
        told = {"operation": name, **point, "verdict": verdict, "problems": wrong}
        told |= {what: found[what] for what in ("from", "wholeBefore", "seconds")}
        file.write_text(json.dumps(told))
        print(f"{verdict:12}{found['seconds']:6.1f} s  rank {rank} {side} {name} {at}", flush=True)
        for each in wrong:
            print(f"    {each}", flush=True)
        if wrong and given.bug:
            break
    report = _merged(folder, plan)
    if not given.bug:
        OUT.write_text(json.dumps(report, indent=1) + "\n")
    spent = time.monotonic() - begun
    print(f"{report['verdicts']} of {len(report['points'])} tried, {spent:.0f} s", flush=True)
    return 1 if failed else 0


def _merged(folder: Path, plan: dict[str, Any]) -> dict[str, Any]:
    """All that was tried with these sources, and what it means for the time of training."""
    tried = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
    verdicts = [each["verdict"] for each in tried]
    return {
        "sources": folder.name,
        "verdicts": {v: verdicts.count(v) for v in ("passed", "failed", "not reached")},
        "tornResumes": sum(each["from"] not in each["wholeBefore"] for each in tried),
        "effective": effective(max(plan["saveSeconds"])),
        "points": tried,
    }


if __name__ == "__main__":
    sys.exit(main())
