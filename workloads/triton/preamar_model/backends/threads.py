"""How many threads may one model instance use?

What the pod was told (OMP_NUM_THREADS), else its CPU limit, else the CPUs it may run on. The
machine's own count would start 64 spinning threads in a pod of one CPU.
"""

import math
import os
from pathlib import Path


def per_instance(instances: int = 1) -> int:
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdigit() and int(told) > 0:
        return int(told)
    allowed = len(os.sched_getaffinity(0))
    limit = cpu_limit()
    cpus = min(allowed, math.ceil(limit)) if limit else allowed
    return max(1, cpus // max(1, instances))


def cpu_limit(cgroup: Path = Path("/sys/fs/cgroup")) -> float | None:
    """The container's CPU limit in CPUs, from cgroup v2 or v1; None when there is none."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        cpu = cgroup / "cpu"
        v1 = int((cpu / "cpu.cfs_quota_us").read_text())
        return v1 / int((cpu / "cpu.cfs_period_us").read_text()) if v1 > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
