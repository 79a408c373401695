"""How files get onto a claim: a Job runs an image that carries them and copies them over.

Nothing is fetched while it runs. The Job is left to expire, so a second seeding of the same claim is a
no-op while it is there and a verified copy afterwards.
"""

from e2e.kube import Json, Kube, until

RESTRICTED: Json = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def job(
    name: str, image: str, arguments: list[str], claim: str, command: list[str] | None = None
) -> Json:
    """A Job whose one container sees ``claim`` at /target; ``command`` instead of the image's."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {
            "backoffLimit": 2,
            "activeDeadlineSeconds": 300,
            "ttlSecondsAfterFinished": 600,
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 1000,
                        "runAsGroup": 1000,
                        "fsGroup": 1000,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [
                        {
                            "name": "seed",
                            "image": image,
                            "imagePullPolicy": "IfNotPresent",
                            **({"command": command} if command else {}),
                            "args": arguments,
                            "securityContext": RESTRICTED,
                            "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
                            "volumeMounts": [
                                {"name": "target", "mountPath": "/target"},
                                {"name": "tmp", "mountPath": "/tmp"},
                            ],
                        }
                    ],
                    "volumes": [
                        {"name": "target", "persistentVolumeClaim": {"claimName": claim}},
                        {"name": "tmp", "emptyDir": {}},
                    ],
                }
            },
        },
    }


def seed(
    kube: Kube,
    namespace: str,
    name: str,
    image: str,
    arguments: list[str],
    claim: str,
    command: list[str] | None = None,
) -> None:
    """Copy what ``image`` carries onto ``claim`` and wait until it is there."""
    if kube.get("batch/v1", "Job", name, namespace) is None:
        kube.apply(job(name, image, arguments, claim, command), namespace)

    def finished() -> bool:
        status = (kube.get("batch/v1", "Job", name, namespace) or {}).get("status") or {}
        if status.get("failed", 0) > 2:
            raise AssertionError(f"seeding job {namespace}/{name} failed: see its pods' logs")
        return bool(status.get("succeeded"))

    until(f"job {namespace}/{name} has copied its files", 240, finished)
