"""``InferenceService``: a model, and everything that keeps it answering."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from preamar.api import GROUP, VERSION
from preamar.api.fields.collections import Distinct
from preamar.api.fields.names import MODEL_NAME_STAYS, NAME_RULES
from preamar.api.fields.scalars import (
    Currency,
    Image,
    Label63,
    ObjectName,
    Whole,
)
from preamar.api.fields.scalars import (
    Price as PriceText,
)
from preamar.api.inference_status import InferenceServiceStatus
from preamar.api.meta import ObjectMeta, Readable, SpecModel
from preamar.api.models import NEEDS_GPU, Engine, Model, Optimize
from preamar.api.rules import Rule
from preamar.api.scaling import Drain, Hold, Rollout, Scaling
from preamar.api.shared import Accelerator, Args, Env, Placement, PullSecrets, Resources


class AccessMode(StrEnum):
    """Who may call."""

    EVERYONE = "Everyone"
    LISTED = "Listed"


class Batching(SpecModel):
    """How the model server joins requests."""

    max_batch_size: Whole = Field(
        default=8, ge=1, le=4096, description="Requests in one batch at most, such as 8."
    )
    max_delay_microseconds: Whole = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="How long a batch waits to fill, in microseconds, such as 500.",
    )


class Runtime(SpecModel):
    """How the model server runs."""

    image: Image | None = Field(
        default=None,
        description="The model server's image, such as example.com/triton:1; the installation's default when left out.",
    )
    batching: Batching = Field(
        default=Batching(), description="How requests are joined into batches."
    )
    instances: Whole = Field(
        default=1, ge=1, le=64, description="Copies of the model in each pod, such as 1."
    )
    env: Env = Field(default=(), description="Environment variables of the model server.")
    args: Args = Field(
        default=(), description="Arguments added to the model server's, such as [--log-verbose=1]."
    )
    resources: Resources = Field(
        default=Resources(), description="CPU, memory and other resources of each pod."
    )
    service_account_name: ObjectName | None = Field(
        default=None, description="The pods' ServiceAccount, such as reader; no token is mounted."
    )
    image_pull_secrets: PullSecrets = Field(
        default=(), description="Secrets to pull the image with, such as [{name: registry-login}]."
    )


class InferenceParallelism(SpecModel):
    """How one copy of the model is split over accelerators."""

    tensor: Whole = Field(
        default=1, ge=1, le=64, description="Accelerators that share each layer, such as 2."
    )
    pipeline: Whole = Field(
        default=1, ge=1, le=64, description="Stages that the layers are cut into, such as 2."
    )
    expert: Whole = Field(
        default=1, ge=1, le=64, description="Accelerators that share the experts, such as 2."
    )
    nodes: Whole = Field(
        default=1, ge=1, le=64, description="Nodes that one copy spans, such as 2."
    )


class Price(SpecModel):
    """What callers pay; at most six decimals each."""

    currency: Currency = Field(default="USD", description="ISO 4217 code, such as USD.")
    per_million_input_tokens: PriceText = Field(
        default="0", description='Money per million input tokens, such as "0.10".'
    )
    per_million_output_tokens: PriceText = Field(
        default="0", description='Money per million output tokens, such as "0.40".'
    )
    per_request: PriceText = Field(default="0", description='Money per request, such as "0.0001".')
    per_accelerator_second: PriceText = Field(
        default="0",
        description='Money per second of an accelerator, which requests that run at the same time share, such as "0.001".',
    )


class Access(SpecModel):
    """Who may call the model."""

    mode: AccessMode = Field(
        default=AccessMode.EVERYONE,
        description="Everyone with a key, or Listed tenants only.",
    )
    tenants: Annotated[tuple[Label63, ...], Field(max_length=256), Distinct] = Field(
        default=(), description="Tenants that may call when mode is Listed, such as [demo]."
    )
    rules = (
        Rule(
            "self.mode == 'Listed' || size(self.tenants) == 0",
            lambda a: a.mode == AccessMode.LISTED or not a.tenants,
            "must be empty unless mode is Listed",
            ".tenants",
        ),
    )


class InferenceServiceSpec(SpecModel):
    """What is wanted of the service."""

    model: Model = Field(description="Which model, where from, and what it may do.")
    optimize: Optimize = Field(
        default=Optimize(), description="How the model is made smaller and faster before serving."
    )
    runtime: Runtime = Field(default=Runtime(), description="How the model server runs.")
    accelerator: Accelerator = Field(
        default=Accelerator(), description="What each pod computes on."
    )
    parallelism: InferenceParallelism = Field(
        default=InferenceParallelism(),
        description="How one copy of the model is split over accelerators.",
    )
    placement: Placement = Field(default=Placement(), description="Where the pods may run.")
    replicas: Whole = Field(
        default=1,
        ge=0,
        le=1000,
        description="Copies that should run now, such as 2; written through /scale. Leave it out in mode Managed.",
    )
    scaling: Scaling = Field(
        default=Scaling(), description="Who decides the number of copies, and how."
    )
    hold: Hold = Field(default=Hold(), description="Requests that are kept while no copy is ready.")
    drain: Drain = Field(default=Drain(), description="How a copy that must go finishes its work.")
    rollout: Rollout = Field(
        default=Rollout(), description="How a new revision replaces the one before."
    )
    price: Price = Field(default=Price(), description="What callers pay; free when left out.")
    access: Access = Field(default=Access(), description="Who may call the model.")
    rules = (
        Rule(
            "self.accelerator.type == 'CPU' || self.parallelism.tensor * self.parallelism.pipeline"
            " <= self.accelerator.count * self.parallelism.nodes",
            lambda s: (
                s.accelerator.type == "CPU"
                or s.parallelism.tensor * s.parallelism.pipeline
                <= s.accelerator.count * s.parallelism.nodes
            ),
            "tensor x pipeline must not exceed accelerator.count x nodes",
            ".parallelism",
        ),
        Rule(
            "self.optimize.engine != 'TensorRT' || self.accelerator.type == 'GPU'",
            lambda s: s.optimize.engine != Engine.TENSORRT or s.accelerator.type == "GPU",
            "must be None when accelerator.type is CPU: TensorRT needs a GPU",
            ".optimize.engine",
        ),
        Rule(
            f"!(self.model.format in {[each.value for each in NEEDS_GPU]})"
            " || self.accelerator.type == 'GPU'",
            lambda s: s.model.format not in NEEDS_GPU or s.accelerator.type == "GPU",
            "must be a format that runs without a GPU when accelerator.type is CPU",
            ".model.format",
        ),
    )


def model_name(given: str | None, resource: str) -> str:
    """By which callers know a model: the name that was given to it, or the resource's own."""
    return given or resource


class InferenceService(SpecModel):
    """A model that answers requests, with as many copies as its callers need."""

    api_version: Literal["preamar.dev/v1alpha1"] = f"{GROUP}/{VERSION}"  # type: ignore[assignment]
    kind: Literal["InferenceService"] = "InferenceService"
    metadata: ObjectMeta = ObjectMeta()
    spec: InferenceServiceSpec = Field(description="What is wanted of the service.")
    status: Readable[InferenceServiceStatus] = Field(
        default=InferenceServiceStatus(), description="What is so, written by the operator."
    )
    rules = NAME_RULES
    changes = (MODEL_NAME_STAYS,)

    @property
    def model_name(self) -> str:
        """The name callers use."""
        return model_name(self.spec.model.name, self.metadata.name)
