"""What both images share is no part of the operator: its tests put it on the path themselves."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "workloads/common"))
