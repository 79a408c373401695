"""Where do the pods of a job find its data?

Volumes by their claims, credentials by their Secrets, tokens that were prepared, and a disk of the
node to stage them on. The kubelet mounts all of it; the operator reads none of it.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from preamar.api.fields.uri import ModelUri
from preamar.api.recipe import Data, DataSource, Stage
from preamar.api.training import TrainingJob
from preamar.core.settings import Settings

STAGE, PREPARED, TARGET = "/mnt/stage", "/mnt/prepared", "/mnt/target"


class Mounted(NamedTuple):
    """A path in the pod, the URI of a volume behind it, and whether it is only read."""

    path: str
    uri: str
    read_only: bool


def source_words(source: DataSource) -> dict[str, Any]:
    """A source as the trainer is told of it."""
    words: dict[str, Any] = {"name": source.name, "weight": source.weight}
    if source.uri.startswith("pvc://"):
        return words | {"path": inside(f"/mnt/data/{source.name}", source.uri)}
    words["uri"] = source.uri
    if source.secret_name:
        words["credentials"] = f"/mnt/secrets/{source.name}"
    return words


def data_words(job: TrainingJob) -> dict[str, Any]:
    """All that the ranks are told of their data."""
    data, done = job.spec.data, job.status.data
    words: dict[str, Any] = {
        "sources": [source_words(source) for source in data.sources],
        "shuffleSeed": data.shuffle_seed,
    }
    if data.stage == Stage.NODE_LOCAL:
        words["stage"] = STAGE
    if data.prepare is not None and done is not None:
        folder = done.uri.rpartition("/")[2]
        words["prepared"] = f"{inside(PREPARED, data.prepare.target)}/{folder}"
    return words


def data_mounts(data: Data) -> list[Mounted]:
    """What a rank reads: the prepared tokens, else the text."""
    if data.prepare is not None:
        return [Mounted(PREPARED, data.prepare.target, True)]
    return text_mounts(data)


def text_mounts(data: Data) -> list[Mounted]:
    """The volumes that hold text."""
    return [
        Mounted(f"/mnt/data/{source.name}", source.uri, True)
        for source in data.sources
        if source.uri.startswith("pvc://")
    ]


def secrets(data: Data) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes and mounts of the credentials of object stores."""
    named = [(s.name, s.secret_name) for s in data.sources if s.secret_name]
    volumes: list[dict[str, Any]] = [
        # Readable by the pod's group alone.
        {"name": f"secret-{i}", "secret": {"secretName": secret, "defaultMode": 0o440}}
        for i, (_, secret) in enumerate(named)
    ]
    mounts: list[dict[str, Any]] = [
        {"name": f"secret-{i}", "mountPath": f"/mnt/secrets/{name}", "readOnly": True}
        for i, (name, _) in enumerate(named)
    ]
    return volumes, mounts


def staged(data: Data, settings: Settings) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The volume of the node that data is copied to; it comes and goes with the pod."""
    if data.stage != Stage.NODE_LOCAL:
        return [], []
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": data.stage_size}},
    }
    if settings.node_local_storage_class:
        spec["storageClassName"] = settings.node_local_storage_class
    volume = {"name": "stage", "ephemeral": {"volumeClaimTemplate": {"spec": spec}}}
    return [volume], [{"name": "stage", "mountPath": STAGE}]


def claimed(wanted: Iterable[Mounted]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes and mounts of claims. One that is used twice is one volume: two could not be mounted
    by all kinds of storage."""
    wanted = tuple(wanted)
    claims = list(dict.fromkeys(str(ModelUri.parse(each.uri).claim) for each in wanted))
    volumes: list[dict[str, Any]] = [
        {"name": f"claim-{i}", "persistentVolumeClaim": {"claimName": claim}}
        for i, claim in enumerate(claims)
    ]
    mounts: list[dict[str, Any]] = [
        {
            "name": f"claim-{claims.index(str(ModelUri.parse(each.uri).claim))}",
            "mountPath": each.path,
            **({"readOnly": True} if each.read_only else {}),
        }
        for each in wanted
    ]
    return volumes, mounts


def inside(mount: str, uri: str) -> str:
    """The path in the pod of what a URI names in a volume."""
    return f"{mount}/{ModelUri.parse(uri).path}".rstrip("/")
