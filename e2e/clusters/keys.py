"""The secrets of an installation, and a first key to call it with.

The admin key, the key between gateway and operator and the pepper are made once, kept beside the
cluster's state, and never printed; Helm never sees them. The data-plane key of tenant ``demo`` lies
under build/ for scripts and tests.
"""

import base64
import json
import secrets
import urllib.error
import urllib.request
from pathlib import Path

from e2e.clusters.kubectl import Kubectl, until
from e2e.clusters.places import NAMESPACE, ROOT
from e2e.clusters.say import TroubleError

SECRET = "preamar-admin"
NAMES = ("admin-key", "internal-key", "pepper")
TENANT = "demo"
KEY_FILE = ROOT / "build/key"
ADMIN_FILE = ROOT / "build/admin-key"
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, also while it is being written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)


def prepare(kubectl: Kubectl, directory: Path) -> None:
    """Make the namespace and the Secret that the chart expects; an existing Secret is kept."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kubectl.apply(
        [
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": NAMESPACE, "labels": labels},
            }
        ]
    )
    there = kubectl.get("secret", SECRET, f"--namespace={NAMESPACE}")
    if there:
        values = {name: base64.b64decode(there["data"][name]).decode() for name in NAMES}
    else:
        values = {name: stored(directory / name) for name in NAMES}
        metadata = {"name": SECRET, "namespace": NAMESPACE}
        kubectl.apply(
            [{"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values}]
        )
    private(ADMIN_FILE, values["admin-key"])


def stored(path: Path) -> str:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        private(path, secrets.token_hex(32))
    return path.read_text()


def demand(
    url: str, method: str = "GET", key: str = "", timeout: float = 10.0
) -> tuple[int, bytes]:
    """One request to the gateway; its status and body, whatever the status."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(url, method=method, headers=headers)
    try:
        with OPENER.open(request, timeout=timeout) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def wait_gateway(gateway: str, admin: str) -> None:
    def ready() -> bool:
        return all(demand(f"{url}/readyz")[0] == 200 for url in (gateway, admin))

    until(f"the gateway answers at {gateway} and {admin}", 120, ready)


def issue(gateway: str, admin: str) -> Path:
    """A data-plane key that works: the one we have while it does, else a new one."""
    if KEY_FILE.exists() and demand(f"{gateway}/v1/models", key=KEY_FILE.read_text())[0] == 200:
        return KEY_FILE
    status, body = demand(f"{admin}/tenants/{TENANT}/keys", "POST", ADMIN_FILE.read_text())
    if status != 201:
        said = body.decode(errors="replace")[:300]
        raise TroubleError(f"The gateway issued no key for tenant {TENANT} ({status}): {said}")
    private(KEY_FILE, json.loads(body)["key"])
    return KEY_FILE
