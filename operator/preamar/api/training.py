"""``TrainingJob``: a model that is trained by DeepSpeed, on as many workers as there are."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from preamar.api import GROUP, VERSION
from preamar.api.checkpoints import Checkpoint
from preamar.api.fields.collections import EMPTY, Frozen
from preamar.api.fields.names import NAME_RULES
from preamar.api.fields.scalars import Flag, Image, ObjectName, Time, Whole
from preamar.api.fields.uri import Target
from preamar.api.interconnect import Interconnect
from preamar.api.meta import ObjectMeta, Readable, SpecModel
from preamar.api.recipe import (
    Batch,
    Data,
    TrainingModel,
    TrainingParallelism,
    TrainingPrecision,
)
from preamar.api.rules import Rule, TransitionRule
from preamar.api.shared import (
    Accelerator,
    Args,
    Env,
    Limit,
    Placement,
    PullSecrets,
    Resources,
)
from preamar.api.training_status import TrainingJobStatus


class Lending(StrEnum):
    """Whether serving may borrow the job's accelerators."""

    NEVER = "Never"
    WHEN_SERVING_NEEDS = "WhenServingNeeds"


class Workers(SpecModel):
    """How many pods train."""

    replicas: Whole = Field(
        default=2,
        ge=1,
        le=1000,
        description="Pods that should train now, such as 2; written through /scale.",
    )
    min: Whole = Field(default=1, ge=1, le=1000, description="Pods at least, such as 1.")
    max: Whole = Field(default=4, ge=1, le=1000, description="Pods at most, such as 4.")
    ranks_per_worker: Whole = Field(
        default=1, ge=1, le=64, description="Ranks in each pod, one per accelerator, such as 1."
    )
    resources: Resources = Field(
        default=Resources(), description="CPU, memory and other resources of each pod."
    )
    rules = (
        Rule(
            "self.min <= self.replicas && self.replicas <= self.max",
            lambda w: w.min <= w.replicas <= w.max,
            "workers.replicas must be between workers.min and workers.max",
            ".replicas",
        ),
    )


class Restarts(SpecModel):
    """How often a failed attempt is tried again."""

    limit: Whole = Field(
        default=5,
        ge=0,
        le=1000,
        description="Restarts after failures at most, such as 5; a resize does not count.",
    )


class Export(SpecModel):
    """Where the trained model goes."""

    uri: Target = Field(description="The place to write to, such as pvc://models/gpt.")


class TrainingJobSpec(SpecModel):
    """What is wanted of the job."""

    image: Image | None = Field(
        default=None,
        description="The trainer's image, such as example.com/trainer:1; the installation's default when left out.",
    )
    command: Args = Field(
        default=(),
        description="A program that each rank runs instead of the built-in trainer, such as [python, train.py].",
    )
    args: Args = Field(default=(), description="Arguments for the command, such as [--fast].")
    env: Env = Field(default=(), description="Environment variables of the trainer.")
    service_account_name: ObjectName | None = Field(
        default=None, description="The pods' ServiceAccount, such as reader; no token is mounted."
    )
    image_pull_secrets: PullSecrets = Field(
        default=(), description="Secrets to pull the image with, such as [{name: registry-login}]."
    )
    model: TrainingModel = Field(
        default=TrainingModel(), description="Which built-in model is trained, and its shape."
    )
    parallelism: TrainingParallelism = Field(
        default=TrainingParallelism(), description="How the model is split over ranks."
    )
    batch: Batch = Field(default=Batch(), description="How many samples make a step.")
    deepspeed_config: Annotated[Mapping[str, Any], Field(max_length=64), Frozen] = Field(
        default=EMPTY,
        description="Passed to DeepSpeed as it is, such as {gradient_clipping: 1.0}; a key that Preamar sets itself stalls the job.",
    )
    workers: Workers = Field(default=Workers(), description="How many pods train.")
    accelerator: Accelerator = Field(
        default=Accelerator(), description="What each pod computes on."
    )
    placement: Placement = Field(default=Placement(), description="Where the pods may run.")
    interconnect: Interconnect = Field(
        default=Interconnect(), description="By which way the ranks talk to each other."
    )
    data: Data = Field(default=Data(), description="What the model is trained on.")
    checkpoint: Checkpoint = Field(description="Where and when progress is saved.")
    steps: Whole = Field(
        default=1000, ge=1, le=1_000_000_000, description="Steps to train, such as 1000."
    )
    precision: TrainingPrecision = Field(
        default=TrainingPrecision.BF16, description="The number format: FP32, BF16 or FP16."
    )
    lending: Lending = Field(
        default=Lending.WHEN_SERVING_NEEDS,
        description="Never, or WhenServingNeeds to shrink to workers.min while models need accelerators.",
    )
    restarts: Restarts = Field(
        default=Restarts(), description="How often a failed attempt is tried again."
    )
    suspend: Flag = Field(
        default=False, description="Whether to save, stop and wait, such as true."
    )
    priority: Whole = Field(
        default=0,
        ge=-1000,
        le=1000,
        description="Jobs with a higher number get accelerators first, such as 10.",
    )
    queue_name: ObjectName | None = Field(
        default=None, description="The Kueue queue that each attempt waits in, such as team-a."
    )
    finish_by: Time | None = Field(
        default=None,
        description="When the job should be done, in UTC, such as 2027-01-31T18:00:00Z; an attempt that cannot keep it by its quote does not start.",
    )
    active_deadline_seconds: Whole | None = Field(
        default=None,
        ge=1,
        le=315_360_000,
        description="Running time after which the job fails, in seconds, such as 86400.",
    )
    ttl_seconds_after_finished: Whole | None = Field(
        default=None,
        ge=0,
        le=315_360_000,
        description="How long the ended job is kept, in seconds, such as 86400; for ever when left out.",
    )
    budget: Limit | None = Field(
        default=None,
        description="The most that the job may cost; an attempt that cannot keep it by its quote does not start.",
    )
    export: Export | None = Field(
        default=None, description="Where the trained model goes; it can then be served."
    )
    rules = (
        Rule(
            "has(self.image) || size(self.data.sources) > 0",
            lambda s: s.image is not None or len(s.data.sources) > 0,
            "must name at least one source unless image brings its own data",
            ".data.sources",
        ),
        Rule(
            "size(self.command) == 0 || has(self.image)",
            lambda s: not s.command or s.image is not None,
            "must be empty unless image is set: the default image has its own",
            ".command",
        ),
        Rule(
            "self.accelerator.type == 'CPU' || self.workers.ranksPerWorker <= self.accelerator.count",
            lambda s: (
                s.accelerator.type == "CPU" or s.workers.ranks_per_worker <= s.accelerator.count
            ),
            "must not exceed accelerator.count: each rank has an accelerator of its own",
            ".workers.ranksPerWorker",
        ),
        Rule(
            "self.parallelism.tensor * self.parallelism.pipeline"
            " <= self.workers.max * self.workers.ranksPerWorker",
            lambda s: (
                s.parallelism.tensor * s.parallelism.pipeline
                <= s.workers.max * s.workers.ranks_per_worker
            ),
            "tensor x pipeline must not exceed workers.max x ranksPerWorker",
            ".parallelism",
        ),
        Rule(
            "self.parallelism.expert <= self.workers.max * self.workers.ranksPerWorker",
            lambda s: s.parallelism.expert <= s.workers.max * s.workers.ranks_per_worker,
            "must not exceed workers.max x ranksPerWorker",
            ".parallelism.expert",
        ),
    )


class TrainingJob(SpecModel):
    """A model that is trained until its last step, and survives failures and resizes."""

    api_version: Literal["preamar.dev/v1alpha1"] = f"{GROUP}/{VERSION}"  # type: ignore[assignment]
    kind: Literal["TrainingJob"] = "TrainingJob"
    metadata: ObjectMeta = ObjectMeta()
    spec: TrainingJobSpec = Field(description="What is wanted of the job.")
    status: Readable[TrainingJobStatus] = Field(
        default=TrainingJobStatus(), description="What is so, written by the operator."
    )
    rules = NAME_RULES
    changes = (
        TransitionRule(
            "self.spec.batch.global == oldSelf.spec.batch.global",
            lambda new, old: new.spec.batch.global_size == old.spec.batch.global_size,
            "must not change while the job exists: it would train another model",
            ".spec.batch.global",
        ),
        TransitionRule(
            "self.spec.model == oldSelf.spec.model",
            lambda new, old: new.spec.model == old.spec.model,
            "must not change: start a second TrainingJob instead",
            ".spec.model",
        ),
        TransitionRule(
            "self.spec.checkpoint.uri == oldSelf.spec.checkpoint.uri",
            lambda new, old: new.spec.checkpoint.uri == old.spec.checkpoint.uri,
            "must not change: progress is saved there",
            ".spec.checkpoint.uri",
        ),
    )
