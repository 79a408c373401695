"""Where may the pods of a resource run, and what do they ask of a node?

The user's selector and tolerations as they are, the accelerator as an extended resource, the
accepted products as affinity. Spot machines are known by the labels of all clouds (``clouds``):
``OnDemand`` keeps away from them, ``Spot`` insists on them, ``SpotThenOnDemand`` prefers them.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from preamar.api.shared import (
    Accelerator,
    AcceleratorType,
    Capacity,
    EnvVar,
    Placement,
    Resources,
)
from preamar.core.capacity.clouds import PRODUCT, SPOT_LABELS, SPOT_TAINTS


def scheduling(placement: Placement, accelerator: Accelerator) -> dict[str, Any]:
    """The fields of a pod spec that say where it may run."""
    tolerations = [_words(t) for t in placement.tolerations]
    if placement.capacity != Capacity.ON_DEMAND:
        tolerations += [
            {"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in SPOT_TAINTS
        ]
    if on_gpu(accelerator):
        tolerations.append({"key": accelerator.resource_name, "operator": "Exists"})
    fields: dict[str, Any] = {"affinity": {"nodeAffinity": _affinity(placement, accelerator)}}
    if placement.node_selector:
        fields["nodeSelector"] = dict(placement.node_selector)
    if tolerations:
        fields["tolerations"] = tolerations
    return fields


def _affinity(placement: Placement, accelerator: Accelerator) -> dict[str, Any]:
    spot = [_expression(key, "In", value) for key, value in SPOT_LABELS]
    common: list[dict[str, Any]] = []
    if on_gpu(accelerator) and accelerator.products:
        common.append({"key": PRODUCT, "operator": "In", "values": list(accelerator.products)})
    if placement.capacity == Capacity.ON_DEMAND:
        common += [_expression(key, "NotIn", value) for key, value in SPOT_LABELS]
    # Terms are alternatives, expressions within a term are not.
    terms = (
        [{"matchExpressions": [*common, one]} for one in spot]
        if placement.capacity == Capacity.SPOT
        else [{"matchExpressions": common}]
        if common
        else []
    )
    affinity: dict[str, Any] = {}
    if terms:
        affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": terms}
    if placement.capacity == Capacity.SPOT_THEN_ON_DEMAND:
        affinity["preferredDuringSchedulingIgnoredDuringExecution"] = [
            {"weight": 100, "preference": {"matchExpressions": [one]}} for one in spot
        ]
    return affinity


def _expression(key: str, operator: str, value: str) -> dict[str, Any]:
    return {"key": key, "operator": operator, "values": [value]}


def on_gpu(accelerator: Accelerator) -> bool:
    """Whether the pods need an accelerator at all."""
    return accelerator.type == AcceleratorType.GPU


def resources_of(
    resources: Resources, accelerator: Accelerator, defaults: Mapping[str, str]
) -> dict[str, Any]:
    """Requests and limits of the main container. A limit without a request is its request, as in
    Kubernetes; accelerators can only be limits, and must be equal if both are given."""
    limits = dict(resources.limits)
    requests = {k: v for k, v in defaults.items() if k not in limits} | dict(resources.requests)
    if on_gpu(accelerator):
        limits[accelerator.resource_name] = str(accelerator.count)
        requests.pop(accelerator.resource_name, None)
    return {"requests": requests, "limits": limits} if limits else {"requests": requests}


def threads(resources: Resources) -> str:
    """How many threads the pod may keep busy: whole CPUs of its limit or request, at least one.

    Left to themselves, numeric libraries start one thread per CPU of the node and then starve."""
    text = resources.limits.get("cpu") or resources.requests.get("cpu") or "1"
    cpus = Decimal(text[:-1]) / 1000 if text.endswith("m") else _plain_number(text)
    return str(max(1, min(int(cpus), 64)))


def _plain_number(text: str) -> Decimal:
    return Decimal(text) if text.replace(".", "", 1).isdecimal() else Decimal(64)


def environment(ours: Mapping[str, str], users: Iterable[EnvVar]) -> list[dict[str, Any]]:
    """Our variables, then the user's; the user's win where both set one."""
    theirs = [_words(variable) for variable in users]
    named = {variable["name"] for variable in theirs}
    return [{"name": k, "value": v} for k, v in ours.items() if k not in named] + theirs


def _words(word: Any) -> dict[str, Any]:
    # Defaults that the user did not write are left to the API server's own.
    dumped: dict[str, Any] = word.model_dump(by_alias=True, exclude_none=True, mode="json")
    return dumped
