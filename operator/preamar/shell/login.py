"""How does Kopf reach the API server? By the same way as our own client: the pod's account by its
address, so that nothing depends on DNS, or a kubeconfig. Kopf asks again when a token is refused."""

import os
from pathlib import Path
from typing import Any

import kopf

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


async def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    """The way to the API server; None where there is none."""
    host = os.environ.get("KUBERNETES_SERVICE_HOST")
    if host and not os.environ.get("KUBECONFIG") and (ACCOUNT / "token").is_file():
        port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        return kopf.ConnectionInfo(
            server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
            ca_path=str(ACCOUNT / "ca.crt"),
            token=(ACCOUNT / "token").read_text().strip(),
        )
    return kopf.login_with_kubeconfig(**kwargs)
