"""A model that is Python code of ours, of task Generate: how does it get onto a claim, and into a spec?"""

import json

from e2e.clusters.images import reference
from e2e.kube import Json, Kube
from e2e.seed import seed

SEEDING_IMAGE = "triton"  # it has a Python
CONFIG = """
model_transaction_policy { decoupled: true }
input [ { name: "REQUEST" data_type: TYPE_STRING dims: [ 1 ] } ]
output [
  { name: "TEXT" data_type: TYPE_STRING dims: [ 1 ] },
  { name: "INPUT_TOKENS" data_type: TYPE_INT32 dims: [ 1 ] },
  { name: "OUTPUT_TOKENS" data_type: TYPE_INT32 dims: [ 1 ] },
  { name: "FINISH_REASON" data_type: TYPE_STRING dims: [ 1 ] }
]
"""
WRITE = """
import json, pathlib, sys
for name, text in json.loads(sys.argv[1]).items():
    path = pathlib.Path("/target/{folder}", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
"""


def seed_code(kube: Kube, namespace: str, folder: str, code: str) -> None:
    """Write a model of that code onto claim ``models``, into ``folder``."""
    files = json.dumps({"config.pbtxt": CONFIG, "1/model.py": code})
    command = ["python3", "-c", WRITE.replace("{folder}", folder)]
    seed(kube, namespace, f"seed-{folder}", reference(SEEDING_IMAGE), [files], "models", command)


def model_of(folder: str) -> Json:
    """``spec.model`` of a service of it."""
    return {
        "uri": f"pvc://models/{folder}",
        "task": "Generate",
        "format": "Python",
        "trust": "Code",
    }
