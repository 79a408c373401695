"""How does a replica come by its model?

From a claim or an image it is mounted, read-only. From anywhere else the init container fetches it
into a cache: a claim of the installation's name in the service's namespace where there is one that
its replicas can share, else a volume that comes and goes with the pod. The credentials are a Secret
that the kubelet mounts; the operator never reads it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from preamar.api.fields.uri import ModelUri
from preamar.api.inference import InferenceService
from preamar.api.models import Engine, Precision, SparsityType
from preamar.api.scaling import ScalingMode
from preamar.core.objects import ClaimView
from preamar.core.placement import on_gpu
from preamar.core.plan import digest_of
from preamar.core.settings import Settings

MOUNTED = frozenset({"pvc", "image", "oci"})
"""Schemes whose models the kubelet mounts."""
ALL, ONE = "ReadWriteMany", frozenset({"ReadWriteOnce", "ReadWriteOncePod"})
MODEL, CACHE, CREDENTIALS = "/mnt/model", "/mnt/cache", "/mnt/credentials"
ARTEFACTS = ".optimized"
"""Beside the fetched models, whose eviction leaves hidden folders alone."""


@dataclass(frozen=True, slots=True)
class Supply:
    """Volumes of the pod, mounts of the container that prepares the model, and what it is told."""

    volumes: tuple[dict[str, Any], ...]
    mounts: tuple[dict[str, Any], ...]
    words: dict[str, Any]


@dataclass(frozen=True, slots=True)
class OptimizeJob:
    """The Job that makes an artefact's ``part``, which is for that GPU ``product``, or for any."""

    name: str
    product: str
    part: str


@dataclass(frozen=True, slots=True)
class Artefact:
    """An optimised model. ``compiled``: it is made of engines; ``jobs``: who makes which part."""

    name: str
    compiled: bool
    jobs: tuple[OptimizeJob, ...]


def is_fetched(service: InferenceService) -> bool:
    """Whether the model has to be brought into the cluster."""
    return service.spec.model.uri.partition("://")[0] not in MOUNTED


def is_optimized(service: InferenceService) -> bool:
    """Whether the model is changed before it is served."""
    wish = service.spec.optimize
    changed = wish.precision != Precision.NONE or wish.sparsity.type != SparsityType.NONE
    return changed or compiles(service)


def compiles(service: InferenceService) -> bool:
    """Whether engines are built of it, for the very GPUs that serve it."""
    return service.spec.optimize.engine != Engine.NONE


def products(service: InferenceService) -> tuple[str, ...]:
    """The GPU products for each of which a Job makes the artefact; one empty word where any will do."""
    return (compiles(service) and service.spec.accelerator.products) or ("",)


def artefact(service: InferenceService) -> str:
    """The folder of the optimised model, of what decides about it. The batch is the user's, also
    where replicas are made with a smaller one: engines take that too."""
    model, wish, runtime = service.spec.model, service.spec.optimize, service.spec.runtime
    words: dict[str, Any] = {
        "model": [model.uri, model.digest, model.task.value, model.trust.value],
        "wish": wish.model_dump(by_alias=True, mode="json"),
        "of": service.metadata.name,
    }
    if compiles(service):
        words["engine"] = [runtime.image, runtime.batching.max_batch_size]
    return f"{service.metadata.name}-{digest_of(words)[:10]}"


def artefact_of(service: InferenceService) -> Artefact | None:
    """The optimised model that is asked for; None where it is served as it came."""
    if not is_optimized(service):
        return None
    asked, compiled, name = products(service), compiles(service), artefact(service)
    endings = [digest_of({name: product})[:10] if product else name[-10:] for product in asked]
    return Artefact(
        name,
        compiled,
        tuple(
            OptimizeJob(
                f"{name[:-11][:40]}-optimize-{ending}",
                product,
                f"{name}/{product}" if product else name,
            )
            for product, ending in zip(asked, endings, strict=True)
        ),
    )


def fetch_job(service: InferenceService) -> str:
    """The Job that fetches this very model ahead of its replicas; empty where there may be none."""
    if not (is_fetched(service) and on_gpu(service.spec.accelerator)):
        return ""
    model = service.spec.model
    words = {"uri": model.uri, "digest": model.digest, "secret": model.secret_name}
    words |= {"of": service.metadata.name}
    return f"{service.metadata.name[:40]}-fetch-{digest_of(words)[:8]}"


def cache_claim(service: InferenceService, settings: Settings) -> str | None:
    """The claim that fetched and optimised models are kept on, if it exists."""
    wanted = is_fetched(service) or is_optimized(service)
    return settings.model_cache_claim or None if wanted else None


def volume_of(
    service: InferenceService,
    artefact: Artefact | None,
    claims: Mapping[str, ClaimView],
    cache: str,
    named: tuple[str, ...],
) -> ClaimView | None:
    """The claim that the model lies on, or is fetched to: that of the name ``cache``, or the first of
    those that the service has ``named``."""
    kept = claims.get(cache) if cache else None
    if artefact is not None:
        return kept
    if is_fetched(service):
        return usable_cache(service, kept)
    return claims.get(named[0]) if named else None


def usable_cache(service: InferenceService, claim: ClaimView | None) -> ClaimView | None:
    """The cache's claim, where all replicas can have it at once."""
    if claim is None or claim.deleting or claim.phase == "Lost":
        return None
    alone = most_pods(service) == 1 and ONE & set(claim.access_modes)
    return claim if ALL in claim.access_modes or alone else None


def supply(service: InferenceService, settings: Settings, claim: ClaimView | None) -> Supply:
    """What a replica gets. ``claim`` is the model's own, or the cache's."""
    if not is_optimized(service):
        return mounted_source(service, settings, claim)
    return Supply(
        ({"name": "cache", "persistentVolumeClaim": {"claimName": settings.model_cache_claim}},),
        ({"name": "cache", "mountPath": CACHE, "readOnly": True},),
        # Of the original's words these are not true of the artefact; who made it has looked.
        {"source": f"{CACHE}/{ARTEFACTS}/{artefact(service)}", "format": "Auto", "digest": None}
        | {"artefact": True}
        | ({"engine": service.spec.optimize.engine.value} if compiles(service) else {}),
    )


def mounted_source(
    service: InferenceService, settings: Settings, claim: ClaimView | None
) -> Supply:
    """The same for the model as it came."""
    uri = ModelUri.parse(service.spec.model.uri)
    if uri.scheme == "pvc":
        path = f"{MODEL}/{uri.path}".rstrip("/")
        volume: dict[str, Any] = {
            "persistentVolumeClaim": {"claimName": uri.claim, "readOnly": True}
        }
    elif uri.scheme in MOUNTED:
        path, pull = MODEL, settings.image_pull_policy
        volume = {"image": {"reference": str(uri).partition("://")[2], "pullPolicy": pull}}
    else:
        return _fetched(str(uri), service, settings, claim)
    return Supply(
        ({"name": "source", **volume},),
        ({"name": "source", "mountPath": MODEL, "readOnly": True},),
        {"source": path},
    )


def _fetched(
    uri: str, service: InferenceService, settings: Settings, claim: ClaimView | None
) -> Supply:
    cache = usable_cache(service, claim)
    where = {"persistentVolumeClaim": {"claimName": cache.name}} if cache else {"emptyDir": {}}
    volumes = [{"name": "cache", **where}]
    mounts: list[dict[str, Any]] = [{"name": "cache", "mountPath": CACHE}]
    secret = service.spec.model.secret_name
    if secret:
        # Readable by the pod's group alone.
        source = {"secretName": secret, "defaultMode": 0o440}
        volumes.append({"name": "credentials", "secret": source})
        mounts.append({"name": "credentials", "mountPath": CREDENTIALS, "readOnly": True})
    words = {
        "uri": uri,
        "hosts": list(settings.model_hosts),
        "cacheBytes": settings.model_cache_bytes,
    }
    return Supply(tuple(volumes), tuple(mounts), words)


def most_pods(service: InferenceService) -> int:
    """How many pods may want the model at once."""
    spec = service.spec
    most = max(spec.scaling.max, 1) if spec.scaling.mode == ScalingMode.MANAGED else spec.replicas
    return most * spec.parallelism.nodes
