"""What both kinds of work share: accelerators, where pods go, what they may use and see."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StrictStr

from preamar.api.fields.collections import EMPTY, Distinct, Frozen, NoNulls, keyed
from preamar.api.fields.scalars import (
    Amount,
    Currency,
    LabelKey,
    LabelValue,
    ObjectName,
    Quantity,
    ResourceName,
    Whole,
)
from preamar.api.meta import SpecModel
from preamar.api.rules import Obeys, Rule


class AcceleratorType(StrEnum):
    """What computes."""

    CPU = "CPU"
    GPU = "GPU"


class Sharing(StrEnum):
    """Whether a pod has its accelerator for itself."""

    EXCLUSIVE = "Exclusive"
    MIG = "MIG"
    TIME_SLICED = "TimeSliced"


class Capacity(StrEnum):
    """What kind of machine may be used."""

    ON_DEMAND = "OnDemand"
    SPOT = "Spot"
    SPOT_THEN_ON_DEMAND = "SpotThenOnDemand"


class Topology(StrEnum):
    """What the pods of one worker group must share."""

    NONE = "None"
    NVLINK = "NVLink"
    RACK = "Rack"


class SecretKeyRef(SpecModel):
    """A key of a Secret in the same namespace, read by the kubelet only."""

    name: ObjectName = Field(description="The Secret's name, such as hub-token.")
    key: Annotated[StrictStr, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")] = (
        Field(description="The key in the Secret, such as token.")
    )


class EnvVarSource(SpecModel):
    """Where the value of an environment variable comes from."""

    secret_key_ref: SecretKeyRef = Field(
        description="A key of a Secret in the resource's namespace."
    )


EnvName = Annotated[
    StrictStr,
    Field(min_length=1, max_length=253, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"),
    Obeys(
        Rule(
            "!self.startsWith('PREAMAR_')",
            lambda v: not v.startswith("PREAMAR_"),
            "must not start with PREAMAR_, which Preamar sets itself",
        )
    ),
]


class EnvVar(SpecModel):
    """An environment variable of the container."""

    name: EnvName = Field(description="The variable's name, such as OMP_NUM_THREADS.")
    value: Annotated[StrictStr, Field(max_length=4096)] | None = Field(
        default=None, description='The variable\'s value, such as "1"; empty when left out.'
    )
    value_from: EnvVarSource | None = Field(
        default=None, description="A source for the value, instead of value."
    )
    rules = (
        Rule(
            "!(has(self.value) && has(self.valueFrom))",
            lambda e: e.value is None or e.value_from is None,
            "must have value or valueFrom, not both",
        ),
    )


Env = Annotated[tuple[EnvVar, ...], Field(max_length=64), keyed("name")]
Args = Annotated[tuple[Annotated[StrictStr, Field(max_length=4096)], ...], Field(max_length=64)]


class LocalRef(SpecModel):
    """An object of the same namespace, by name."""

    name: ObjectName = Field(description="The object's name, such as registry-login.")


PullSecrets = Annotated[tuple[LocalRef, ...], Field(max_length=8), keyed("name")]
Quantities = Annotated[Mapping[str, Quantity], Field(max_length=16), NoNulls, Frozen]


class Resources(SpecModel):
    """What each container asks for and may use, beside its accelerators."""

    requests: Quantities = Field(
        default=EMPTY, description="What is kept free for it, such as {cpu: 500m, memory: 2Gi}."
    )
    limits: Quantities = Field(
        default=EMPTY, description="What it may use at most, such as {cpu: 2, memory: 4Gi}."
    )


class Accelerator(SpecModel):
    """What each pod computes on."""

    type: AcceleratorType = Field(
        default=AcceleratorType.GPU,
        description="GPU or CPU; on CPU the other fields here are ignored.",
    )
    resource_name: ResourceName = Field(
        default="nvidia.com/gpu",
        description="The node resource to ask for, such as nvidia.com/gpu or nvidia.com/mig-1g.10gb.",
    )
    count: Whole = Field(
        default=1, ge=1, le=64, description="Accelerators per pod, such as 1 (no unit)."
    )
    products: Annotated[tuple[LabelValue, ...], Field(max_length=16), Distinct] = Field(
        default=(),
        description="Accepted products by the node label nvidia.com/gpu.product, such as NVIDIA-L4; empty accepts all.",
    )
    sharing: Sharing = Field(
        default=Sharing.EXCLUSIVE,
        description="Exclusive, MIG (a slice of one) or TimeSliced (in turns with others).",
    )


class Toleration(SpecModel):
    """A taint that the pods put up with, as in a pod."""

    key: LabelKey | None = Field(
        default=None, description="The taint's key, such as nvidia.com/gpu; empty means all."
    )
    operator: Literal["Exists", "Equal"] = Field(
        default="Equal", description="Exists (any value) or Equal (this value)."
    )
    value: LabelValue | None = Field(
        default=None, description="The taint's value for Equal, such as present."
    )
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None,
        description="The effect: NoSchedule, PreferNoSchedule or NoExecute; empty means all.",
    )
    toleration_seconds: Whole | None = Field(
        default=None,
        ge=0,
        le=31_536_000,
        description="How long a NoExecute taint is tolerated, in seconds, such as 300.",
    )
    rules = (
        Rule(
            "has(self.key) || self.operator == 'Exists'",
            lambda t: t.key is not None or t.operator == "Exists",
            "must have operator Exists when it has no key",
            ".operator",
        ),
        Rule(
            "!has(self.value) || self.value == '' || self.operator == 'Equal'",
            lambda t: not t.value or t.operator == "Equal",
            "must not have a value when operator is Exists",
            ".value",
        ),
        Rule(
            "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            lambda t: t.toleration_seconds is None or t.effect == "NoExecute",
            "must have effect NoExecute when tolerationSeconds is set",
            ".tolerationSeconds",
        ),
    )


NodeSelector = Annotated[Mapping[str, LabelValue], Field(max_length=16), NoNulls, Frozen]


class Placement(SpecModel):
    """Where the pods may run."""

    capacity: Capacity = Field(
        default=Capacity.ON_DEMAND,
        description="OnDemand, Spot, or SpotThenOnDemand (spot first, on demand when there is none).",
    )
    topology: Topology = Field(
        default=Topology.NONE,
        description="What pods that work together must share: None, NVLink (one domain) or Rack.",
    )
    node_selector: NodeSelector = Field(
        default=EMPTY, description="Labels a node must have, such as {zone: a}."
    )
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=16)] = Field(
        default=(),
        description="Taints that are tolerated, such as [{key: nvidia.com/gpu, operator: Exists}].",
    )


class Limit(SpecModel):
    """A sum of money."""

    currency: Currency = Field(default="USD", description="ISO 4217 code, such as USD.")
    limit: Amount = Field(description='The most that may be spent, such as "25.00".')
