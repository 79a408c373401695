"""What the gateway needs to know of an InferenceService and of an EndpointSlice.

It reads the few fields that it uses and nothing else: a resource written for a newer version, or
one that is wrong somewhere else, must not make a model vanish. ``None`` means that even those few
cannot be read, and then that one object is left out: also where the price cannot be, since nothing
is given away by mistake.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from preamar.ledger.tables.prices import FREE, PriceList
from preamar.protocol import defaults, ports
from preamar.protocol.labels import SERVICE_LABEL
from preamar.protocol.names import is_canary
from preamar.protocol.ownership import name_claimed


@dataclass(frozen=True, slots=True)
class ModelResource:
    """One InferenceService. ``service`` is ``namespace/name``, ``room`` how many requests one
    replica gets at a time, ``stalled`` why it cannot start (a condition's reason),
    ``cold_start_seconds`` the learned time from asking for a replica to its readiness."""

    service: str
    name: str
    uid: str
    created: str
    task: str
    batch: int
    room: int
    hold_requests: int
    hold_seconds: float
    tenants: frozenset[str] | None
    digest: str | None
    stalled: str | None
    loaded: bool
    cold_start_seconds: float | None = None
    price: PriceList = FREE
    accelerators: int = 1
    """Of one replica; cores count as one where it has none."""
    revision: str | None = None
    """The revision that is served."""
    trial: str | None = None
    """The revision that is on trial."""
    share: float = 0.0
    """Of the requests, what its replicas get."""
    tolerance: float | None = None
    """How far its answers may be from those of the one before; None: they are not compared."""

    def admits(self, tenant: str) -> bool:
        """Whether that tenant may call it."""
        return self.tenants is None or tenant in self.tenants


@dataclass(frozen=True, slots=True)
class Address:
    """Where one pod listens; ``pod`` is its name, ``uid`` tells it from a later namesake."""

    ip: str
    http: int
    grpc: int
    pod: str
    uid: str
    metrics: int = ports.MODEL_METRICS
    canary: bool = False
    """Whether it is of the revision that is on trial."""


def model_of(body: Mapping[str, Any]) -> ModelResource | None:
    """The facts of an InferenceService, None if it is going away or unreadable."""
    try:
        meta, spec = body["metadata"], body["spec"]
        if meta.get("deletionTimestamp"):
            return None
        status = body.get("status") or {}
        runtime = spec.get("runtime") or {}
        batch = _batch(runtime, status)
        hold = spec.get("hold") or {}
        access = spec.get("access") or {}
        listed = access.get("mode", defaults.ACCESS) == "Listed"
        conditions = _conditions(status, meta.get("generation", 0))
        return ModelResource(
            service=f"{meta['namespace']}/{meta['name']}",
            name=name_claimed(body),
            uid=str(meta.get("uid", "")),
            created=str(meta.get("creationTimestamp") or ""),
            task=str((spec.get("model") or {}).get("task", defaults.TASK)),
            batch=max(1, batch),
            room=_room(spec, batch, int(runtime.get("instances", defaults.INSTANCES))),
            hold_requests=int(hold.get("maxRequests", defaults.HOLD_REQUESTS)),
            hold_seconds=float(hold.get("maxSeconds", defaults.HOLD_SECONDS)),
            tenants=frozenset(map(str, access.get("tenants") or ())) if listed else None,
            digest=(status.get("model") or {}).get("digest"),
            stalled=conditions.get("Stalled"),
            loaded="Ready" in conditions,
            cold_start_seconds=_amount((status.get("learned") or {}).get("coldStartSeconds")),
            price=PriceList.of(spec.get("price") or {}),
            accelerators=_accelerators(spec),
            revision=_word(status.get("revision")),
            **_trial(status),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _batch(runtime: Mapping[str, Any], status: Mapping[str, Any]) -> int:
    """As asked, or the smaller one that replicas were made with after one ran out of memory; they
    refuse what is larger."""
    asked = int((runtime.get("batching") or {}).get("maxBatchSize", defaults.BATCH))
    made = (status.get("fit") or {}).get("maxBatchSize")
    return min(asked, made) if isinstance(made, int) and made > 0 else asked


def _word(given: Any) -> str | None:
    return given if isinstance(given, str) and given.isalnum() else None


def _trial(status: Mapping[str, Any]) -> dict[str, Any]:
    """Nothing where it cannot be read: then the revision that was there before serves all."""
    told = status.get("rollout")
    told = told if isinstance(told, Mapping) else {}
    revision, percent = told.get("revision"), told.get("percent")
    running = told.get("phase") == "Trying" and _word(revision) is not None
    if not running or not isinstance(percent, int) or not 0 <= percent <= 100:
        return {}
    # 0 could not be divided by, and a difference of nothing cannot be asked for.
    return {
        "trial": revision,
        "share": percent / 100,
        "tolerance": _amount(told.get("tolerance")) or None,
    }


def _amount(given: Any) -> float | None:
    """None for what is no number from 0 on: a model does not vanish for what was learned of it."""
    try:
        amount = float(given)
    except (TypeError, ValueError):
        return None
    return amount if isfinite(amount) and amount >= 0 else None


def _conditions(status: Mapping[str, Any], generation: int) -> dict[str, str]:
    """Reasons of the conditions that are true of the spec as it is now."""
    return {
        str(condition["type"]): str(condition.get("reason") or "Unknown")
        for condition in status.get("conditions") or ()
        if condition.get("status") == "True"
        and condition.get("observedGeneration", generation) >= generation
    }


def _accelerators(spec: Mapping[str, Any]) -> int:
    count = int((spec.get("accelerator") or {}).get("count", defaults.ACCELERATORS))
    nodes = int((spec.get("parallelism") or {}).get("nodes", defaults.NODES))
    return max(1, count) * max(1, nodes)


def _room(spec: Mapping[str, Any], batch: int, instances: int) -> int:
    """One batch that runs and one that waits, and at least twice what the scaler aims at: more
    would pile up on the first replica that is ready, out of reach of those that follow. Where the
    aim is in seconds, only what runs: what waits then waits here, where it is seen."""
    target = (spec.get("scaling") or {}).get("target") or {}
    if target.get("signal", defaults.SIGNAL) != "InFlight":
        return max(1, batch * instances)
    return max(4, 2 * batch * instances, int(2 * float(target.get("value", defaults.TARGET))))


def starting_of(body: Mapping[str, Any]) -> frozenset[Address]:
    """Addresses of an EndpointSlice that are not ready and do not leave."""
    known = addresses_of(body)
    leaving = {
        str((endpoint.get("targetRef") or {}).get("uid") or "")
        for endpoint in (body.get("endpoints") or () if known else ())
        if (endpoint.get("conditions") or {}).get("terminating")
    }
    return frozenset(a for a, usable in known.items() if not usable and a.uid not in leaving)


def addresses_of(body: Mapping[str, Any]) -> dict[Address, bool]:
    """Addresses of an EndpointSlice, each with whether it takes new requests: serving and not
    terminating. Unreadable ones are left out."""
    try:
        labels = (body.get("metadata") or {}).get("labels") or {}
        service = str(labels.get(SERVICE_LABEL) or "")
        if body.get("addressType") not in {"IPv4", "IPv6"}:
            return {}
        named = {str(port.get("name")): int(port["port"]) for port in body.get("ports") or ()}
        found = {}
        for endpoint in body.get("endpoints") or ():
            conditions = endpoint.get("conditions") or {}
            ready = conditions.get("ready")
            serving = conditions.get("serving")
            usable = (ready is not False) if serving is None else bool(serving)
            target = endpoint.get("targetRef") or {}
            ip = str(endpoint["addresses"][0])
            pod = str(target.get("name") or ip)
            address = Address(
                ip=ip,
                http=named.get("http", ports.MODEL_HTTP),
                grpc=named.get("grpc", ports.MODEL_GRPC),
                pod=pod,
                uid=str(target.get("uid") or ""),
                metrics=named.get("metrics", ports.MODEL_METRICS),
                canary=is_canary(pod, service),
            )
            found[address] = usable and not conditions.get("terminating")
        return found
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return {}


def slim(body: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an object that is worth keeping on disk."""
    meta = body.get("metadata") or {}
    kept = ("namespace", "name", "uid", "creationTimestamp", "generation", "labels")
    slimmed = {
        key: body[key]
        for key in ("apiVersion", "kind", "spec", "addressType", "ports", "endpoints")
        if key in body
    }
    slimmed["metadata"] = {key: meta[key] for key in kept if key in meta}
    if meta.get("deletionTimestamp"):
        slimmed["metadata"]["deletionTimestamp"] = meta["deletionTimestamp"]
    status = body.get("status")
    if isinstance(status, Mapping):
        slimmed["status"] = {
            key: status[key]
            for key in ("model", "conditions", "learned", "fit", "rollout", "revision")
            if key in status
        }
    return slimmed
