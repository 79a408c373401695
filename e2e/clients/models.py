"""Two models to call: MiniLM, and a tiny decoder whose every word a formula foretells.

The decoder has random weights and a vocabulary of bytes; with temperature 0 its text is what
``tests/workloads/triton/decoders.py`` works out in numpy, so a client's answer is right or wrong.
"""

import base64
import io
import json
import sys
import tarfile
from functools import cache
from pathlib import Path

from e2e.clusters.choice import provider
from e2e.clusters.images import reference
from e2e.journeys.watching import moving
from e2e.journeys.wishes import a_service
from e2e.kube import Json, Kube, condition, until
from e2e.seed import RESTRICTED

ROOT = Path(__file__).resolve().parents[2]
for place in (ROOT / "workloads/triton", ROOT / "tests/workloads/triton"):
    sys.path.append(str(place))

import decoders  # noqa: E402 - lies beside the tests of the model server

STORY, WORDS = "client-story", "client-words"
AWAKE: Json = {"min": 1, "max": 1}
TEMPLATE = "{% for m in messages %}{{ m.role }}> {{ m.content }}\n{% endfor %}assistant>"


def services() -> tuple[Json, Json]:
    """The decoder and MiniLM, one replica each, awake as long as they are there."""
    story = {"name": STORY, "uri": "pvc://models/story", "task": "Generate"}
    price = {"perMillionOutputTokens": "1000"}
    return (
        a_service(STORY, model=story, scaling=AWAKE, price=price),
        a_service(WORDS, scaling=AWAKE),
    )


@cache
def told(prompt: str, count: int) -> str:
    """What the decoder says next, in ``count`` tokens, by the formula."""
    return decoders.greedy(prompt, count).decode(errors="replace")


def chat(*messages: tuple[str, str]) -> str:
    """The prompt that the gateway must make of messages, each (role, content)."""
    lines = [f"{role}> {content}\n" for role, content in messages]
    return "".join([*lines, "assistant>"])


def archive(directory: Path) -> bytes:
    """The decoder's files as a tar archive."""
    decoders.write(directory, decoders.SHORT)
    (directory / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for path in sorted(directory.iterdir()):
            tar.add(path, arcname=f"story/{path.name}")
    return packed.getvalue()


def filler() -> Json:
    """A pod that waits with the claim mounted."""
    security = {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "fsGroup": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {
        "name": "fill",
        "image": reference("demo-models"),
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "300"],
        "securityContext": RESTRICTED,
        "volumeMounts": [{"name": "target", "mountPath": "/target"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "fill"},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "activeDeadlineSeconds": 300,
            "terminationGracePeriodSeconds": 1,
            "securityContext": security,
            "containers": [container],
            "volumes": [{"name": "target", "persistentVolumeClaim": {"claimName": "models"}}],
        },
    }


def fill(kube: Kube, kind: str, namespace: str, directory: Path) -> None:
    """Put the decoder onto the claim ``models`` through a pod's standard input."""
    kube.apply(filler(), namespace)

    def running() -> bool:
        return condition(kube.get("v1", "Pod", "fill", namespace), "Ready").get("status") == "True"

    until("a pod has the claim", 120, running, progress=moving(kube, namespace))
    provider(kind).kubectl()(
        *("exec", "--stdin", f"--namespace={namespace}", "fill", "--"),
        *("sh", "-c", "base64 -d | tar -xz -C /target"),
        stdin=base64.b64encode(archive(directory)).decode(),
        timeout=120,
    )
    kube.delete("v1", "Pod", "fill", namespace)
