"""What is trained on what: the model, how it is split over ranks, its batch, precision and data."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StrictStr

from preamar.api.fields.collections import EMPTY, Frozen, NoNulls, keyed
from preamar.api.fields.scalars import Above0, Label63, ObjectName, Quantity, Whole
from preamar.api.fields.uri import Source
from preamar.api.meta import SpecModel
from preamar.api.prepare import Prepare
from preamar.api.rules import Rule


class Offload(StrEnum):
    """Where optimizer state goes that does not fit."""

    NONE = "None"
    CPU = "CPU"
    NVME = "NVMe"


class Stage(StrEnum):
    """Whether data is copied near the accelerators first."""

    NONE = "None"
    NODE_LOCAL = "NodeLocal"


class TrainingPrecision(StrEnum):
    """The number format of training."""

    FP32 = "FP32"
    BF16 = "BF16"
    FP16 = "FP16"


class TrainingModel(SpecModel):
    """Which built-in model is trained, and its shape."""

    preset: Annotated[
        StrictStr, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    ] = Field(default="gpt-tiny", description="The built-in model, such as gpt-tiny or moe-tiny.")
    parameters: Annotated[
        Mapping[str, Annotated[Whole, Field(ge=0, le=1_000_000_000)]],
        Field(max_length=32),
        NoNulls,
        Frozen,
    ] = Field(
        default=EMPTY, description="Sizes that replace the preset's own, such as {layers: 4}."
    )


class TrainingParallelism(SpecModel):
    """How the model is split over ranks."""

    tensor: Whole = Field(
        default=1, ge=1, le=1024, description="Ranks that share each layer, such as 2."
    )
    pipeline: Whole = Field(
        default=1, ge=1, le=1024, description="Stages that the layers are cut into, such as 2."
    )
    expert: Whole = Field(
        default=1, ge=1, le=1024, description="Ranks that share the experts, such as 2."
    )
    zero_stage: Whole = Field(
        default=1, ge=0, le=3, description="DeepSpeed's ZeRO stage, from 0 to 3, such as 1."
    )
    offload: Offload = Field(
        default=Offload.NONE, description="Where optimizer state goes: None, CPU or NVMe."
    )
    rules = (
        Rule(
            "self.pipeline == 1 || self.zeroStage <= 1",
            lambda p: p.pipeline == 1 or p.zero_stage <= 1,
            "must be 0 or 1 when pipeline is greater than 1",
            ".zeroStage",
        ),
        Rule(
            "self.offload == 'None' || self.zeroStage >= 1",
            lambda p: p.offload == Offload.NONE or p.zero_stage >= 1,
            "must be None when zeroStage is 0",
            ".offload",
        ),
        Rule(
            "self.offload != 'NVMe' || self.zeroStage == 3",
            lambda p: p.offload != Offload.NVME or p.zero_stage == 3,
            "must not be NVMe unless zeroStage is 3",
            ".offload",
        ),
    )


class Batch(SpecModel):
    """How many samples make a step."""

    global_size: Whole = Field(
        default=64,
        ge=1,
        le=10_000_000,
        alias="global",
        description="Samples in each step over all ranks, such as 64; a resize never changes it.",
    )
    micro: Whole = Field(
        default=0,
        ge=0,
        le=100_000,
        description="Samples that a rank takes at once, such as 8; 0 lets Preamar choose.",
    )
    rules = (
        Rule(
            "self.micro == 0 || self.global % self.micro == 0",
            lambda b: b.micro == 0 or b.global_size % b.micro == 0,
            "batch.global must be a multiple of batch.micro",
            ".micro",
        ),
    )


class DataSource(SpecModel):
    """One source of samples."""

    name: Label63 = Field(description="A name for the source, such as books.")
    uri: Source = Field(description="Where the samples are, such as pvc://data/books.")
    weight: Annotated[
        StrictStr, Field(max_length=14, pattern=r"^[0-9]{1,6}(\.[0-9]{1,6})?$"), Above0
    ] = Field(default="1", description='Its share relative to the other sources, such as "0.6".')
    secret_name: ObjectName | None = Field(
        default=None,
        description="A Secret with the credentials of an object store, such as corpus-reader; mounted by the kubelet, never read by the operator.",
    )
    rules = (
        Rule(
            "!has(self.secretName) || !self.uri.startsWith('pvc://')",
            lambda d: d.secret_name is None or not d.uri.startswith("pvc://"),
            "must be left out: a volume needs no credentials",
            ".secretName",
        ),
    )


class Data(SpecModel):
    """What the model is trained on."""

    sources: Annotated[tuple[DataSource, ...], Field(max_length=32), keyed("name")] = Field(
        default=(), description="The sources, mixed by weight."
    )
    shuffle_seed: Whole = Field(
        default=0,
        ge=0,
        le=2**31 - 1,
        description="The seed of the order of samples, such as 0; the same seed gives the same order.",
    )
    stage: Stage = Field(
        default=Stage.NONE,
        description="None, or NodeLocal to copy the tokens to a volume of each pod's node first.",
    )
    stage_size: Quantity = Field(
        default="100Gi", description="The size of that volume in each pod, such as 500Gi."
    )
    prepare: Prepare | None = Field(
        default=None,
        description="Filter, deduplicate and tokenise once in a Job of its own; each pod tokenises for itself when left out.",
    )
