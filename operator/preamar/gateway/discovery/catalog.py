"""Which models exist and where their replicas are: a fold of what was heard of both kinds.

What was heard is kept as it came, so that it
can be written to disk and folded again after a restart.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from preamar.gateway.discovery.resources import (
    Address,
    ModelResource,
    addresses_of,
    model_of,
    slim,
    starting_of,
)
from preamar.gateway.limits.limits import UsageLimits, of_tenant
from preamar.protocol import ports
from preamar.protocol.labels import SERVICE_LABEL, SLICE_OF_LABEL
from preamar.protocol.ownership import Claimant, owner

Key = tuple[str, str]


def _key(body: Mapping[str, Any]) -> Key:
    meta = body.get("metadata") or {}
    return (str(meta.get("namespace", "")), str(meta.get("name", "")))


@dataclass(slots=True)
class Snapshot:
    """Objects as last heard. ``services`` and ``slices`` by namespace and name."""

    services: dict[Key, dict[str, Any]] = field(default_factory=dict)
    slices: dict[Key, dict[str, Any]] = field(default_factory=dict)
    operators: dict[Key, dict[str, Any]] = field(default_factory=dict)
    tenants: dict[Key, dict[str, Any]] = field(default_factory=dict)

    def replace(self, which: str, bodies: Iterable[Mapping[str, Any]]) -> None:
        """Everything there is of one kind; what is not in it no longer exists."""
        setattr(self, which, {_key(body): slim(body) for body in bodies})

    def change(self, which: str, change: str, body: Mapping[str, Any]) -> None:
        """One object was added, modified or deleted."""
        objects: dict[Key, dict[str, Any]] = getattr(self, which)
        if change == "DELETED":
            objects.pop(_key(body), None)
        else:
            objects[_key(body)] = slim(body)

    def dump(self) -> dict[str, Any]:
        """As JSON, for the disk."""
        return {
            "format": 1,
            "services": list(self.services.values()),
            "slices": list(self.slices.values()),
            "operators": list(self.operators.values()),
            "tenants": list(self.tenants.values()),
        }

    @classmethod
    def load(cls, dumped: Mapping[str, Any]) -> "Snapshot":
        """The reverse of ``dump``; raises ``ValueError`` on another format."""
        if dumped.get("format") != 1:
            raise ValueError("the snapshot has another format")
        heard = cls()
        for which in ("services", "slices", "operators", "tenants"):
            heard.replace(which, dumped.get(which) or ())
        return heard


def models(heard: Snapshot) -> dict[str, ModelResource]:
    """Models by the name that callers use."""
    claims: dict[str, dict[Claimant, ModelResource]] = {}
    for body in heard.services.values():
        if model := model_of(body):
            claims.setdefault(model.name, {})[Claimant.of(body["metadata"])] = model
    return {name: claimed[owner(claimed)] for name, claimed in claims.items()}


def tenants(heard: Snapshot) -> dict[str, UsageLimits]:
    """What each tenant with a resource may use, by its name."""
    return dict(map(of_tenant, heard.tenants.values()))


def replicas(heard: Snapshot) -> dict[str, dict[Address, bool]]:
    """Addresses by service, each with whether it takes new requests. A pod that two slices name
    takes requests if either says so: slices are rewritten one after the other."""
    found: dict[str, dict[Address, bool]] = {}
    for service, body in _slices(heard):
        known = found.setdefault(service, {})
        for address, usable in addresses_of(body).items():
            known[address] = usable or known.get(address, False)
    return found


def starting(heard: Snapshot) -> dict[str, set[Address]]:
    """Addresses by service that are not ready yet and do not leave."""
    found: dict[str, set[Address]] = {}
    for service, body in _slices(heard):
        found.setdefault(service, set()).update(starting_of(body))
    return found


def _slices(heard: Snapshot) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each EndpointSlice with the service that it is of."""
    for (namespace, _), body in heard.slices.items():
        service = ((body.get("metadata") or {}).get("labels") or {}).get(SERVICE_LABEL)
        if service:
            yield f"{namespace}/{service}", body


def operators(heard: Snapshot, namespace: str, service: str) -> tuple[tuple[str, int], ...]:
    """Where to send demand reports: every replica of the operator, ready or not."""
    found: set[tuple[str, int]] = set()
    for (where, _), body in heard.operators.items():
        labels = (body.get("metadata") or {}).get("labels") or {}
        if where != namespace or labels.get(SLICE_OF_LABEL) != service:
            continue
        named = {p.get("name"): p.get("port") for p in body.get("ports") or ()}
        port = named.get("demand") or ports.DEMAND
        found |= {(address.ip, int(port)) for address in addresses_of(body)}
    return tuple(sorted(found))
