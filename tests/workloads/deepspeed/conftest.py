"""The trainer's packages are no part of the operator: its tests put them on the path themselves."""

import sys
from pathlib import Path

WORKLOADS = Path(__file__).parents[3] / "workloads"
sys.path[:0] = [str(WORKLOADS / "deepspeed"), str(WORKLOADS / "common")]
