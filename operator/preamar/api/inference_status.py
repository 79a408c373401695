"""What the operator says of an ``InferenceService``."""

from typing import Annotated

from pydantic import Field

from preamar.api.fields.scalars import Flag, ObservedTime, Sentence, ShortText, Signed, Whole
from preamar.api.meta import ObservedModel, Status

BIG = 2**53


class ServedModel(ObservedModel):
    """The model that is served."""

    digest: ShortText | None = Field(
        default=None, description="The content's digest, such as sha256: and 64 hexadecimal digits."
    )
    bytes: Whole | None = Field(
        default=None, ge=0, le=BIG, description="The size in bytes, such as 91000000."
    )
    format: ShortText | None = Field(
        default=None, description="The format found, such as SafeTensors."
    )


class Decision(ObservedModel):
    """How many copies, and why."""

    replicas: Whole = Field(
        default=0, ge=0, le=BIG, description="Copies that were asked for, such as 3."
    )
    reason: ShortText = Field(default="", description="Why, in one word, such as DemandMet.")
    signal: ShortText = Field(
        default="", description="What it was decided on, such as InFlight=23, target 8."
    )
    wanted: Whole | None = Field(
        default=None,
        ge=0,
        le=BIG,
        description="The most copies that demand has asked for since then, such as 1.",
    )
    at: ObservedTime | None = Field(
        default=None, description="Since when, such as 2027-01-31T18:00:00Z."
    )


class Start(ObservedModel):
    """One start of a copy."""

    pod: ShortText = Field(
        default="", description="The copy's pod, such as minilm-serve-6d5f-x2k9p."
    )
    at: ObservedTime | None = Field(
        default=None, description="When it was asked for, such as 2027-01-31T18:00:00Z."
    )
    seconds: Signed = Field(default="0", description='Seconds until it was ready, such as "31.5".')


class Learned(ObservedModel):
    """What was measured of this model, kept so that a restart does not forget it."""

    service_seconds: Signed | None = Field(
        default=None, description='Seconds that one request takes on a copy, such as "0.85".'
    )
    measured_at: ObservedTime | None = Field(
        default=None,
        description="When serviceSeconds was last written, such as 2027-01-31T18:00:00Z.",
    )
    cold_start_seconds: Signed | None = Field(
        default=None,
        description='Seconds from asking for a copy to ready, the median of the last starts, such as "31.5".',
    )
    cold_starts: Annotated[tuple[Start, ...], Field(max_length=5)] = Field(
        default=(), description="The last five starts, oldest first."
    )


class Fit(ObservedModel):
    """How the model was made to fit into memory, or why it was given up. It belongs to one revision:
    an edit of what runs starts anew."""

    revision: ShortText = Field(
        default="", description="The revision that this is about, such as 6f1c2a9b3e."
    )
    edition: ShortText = Field(
        default="",
        description="The whole spec without its size, such as 0d4e8f6a1b; a service that was given up is tried again under another.",
    )
    asked: Whole = Field(
        default=1,
        ge=1,
        le=BIG,
        description="Requests in one batch at most, as asked for, such as 16.",
    )
    max_batch_size: Whole = Field(
        default=1,
        ge=1,
        le=BIG,
        description="Requests in one batch at most, as copies are made, such as 4.",
    )
    attempts: Whole = Field(
        default=0, ge=0, le=BIG, description="How often the batch was halved, such as 2."
    )
    given_up: Flag = Field(
        default=False,
        description="Whether the copies were removed until the spec is edited, such as false.",
    )
    reason: ShortText = Field(default="", description="Why, in one word, such as OutOfMemory.")
    message: Sentence = Field(
        default="",
        description="Why, in a sentence, such as Batches of 4 instead of 16: with 8 a replica ran out of memory.",
    )
    at: ObservedTime | None = Field(
        default=None, description="Since when, such as 2027-01-31T18:00:00Z."
    )


class Measured(ObservedModel):
    """One side of the comparison before and after optimisation."""

    bytes: Whole | None = Field(
        default=None, ge=0, le=BIG, description="The size in bytes, such as 91000000."
    )
    latency: Signed | None = Field(
        default=None, description='Median seconds per request, such as "0.012".'
    )
    latency_p99: Signed | None = Field(
        default=None,
        description='Seconds that one request in a hundred exceeds, such as "0.031".',
    )
    throughput: Signed | None = Field(
        default=None, description='Requests per second, such as "84.5".'
    )
    error: Signed | None = Field(
        default=None, description='Worst relative error against the original, such as "0.004".'
    )


class BuiltEngine(ObservedModel):
    """An engine, measured on its GPU against one of the model as it came."""

    product: ShortText | None = Field(
        default=None, description="The GPU product that it runs on, such as NVIDIA-L4."
    )
    tensorrt: ShortText | None = Field(
        default=None, description="The TensorRT that it runs with, such as 11.4.0.106."
    )
    before: Measured | None = Field(default=None, description="The model as it came.")
    after: Measured | None = Field(default=None, description="The engine that is served.")


class Optimization(ObservedModel):
    """What optimisation changed."""

    artefact: ShortText | None = Field(
        default=None, description="The optimised model in its cache, such as minilm-6f1c2a9b04."
    )
    before: Measured | None = Field(default=None, description="The model as it came.")
    after: Measured | None = Field(default=None, description="The model as it is served.")
    layers_kept: Annotated[tuple[ShortText, ...], Field(max_length=256)] = Field(
        default=(), description="Layers kept in FP32 to stay within the tolerance."
    )
    engines: Annotated[tuple[BuiltEngine, ...], Field(max_length=16)] = Field(
        default=(), description="What was compiled, an engine for each GPU product."
    )


class RolloutTold(ObservedModel):
    """How far a new revision has come with strategy Canary."""

    revision: ShortText = Field(default="", description="The new revision, such as 6f1c2a9b3e.")
    phase: ShortText = Field(
        default="", description="Trying, Promoted (it serves all) or RolledBack (it serves none)."
    )
    step: Whole = Field(default=0, ge=0, le=BIG, description="The present step, such as 2.")
    percent: Whole = Field(
        default=0, ge=0, le=BIG, description="Its share of the requests, in percent, such as 20."
    )
    since: ObservedTime | None = Field(
        default=None,
        description="When this step began: once a copy was ready, such as 2027-01-31T18:00:00Z.",
    )
    requests: Whole = Field(
        default=0, ge=0, le=BIG, description="Requests it had had when this step began, such as 25."
    )
    tolerance: Signed | None = Field(
        default=None,
        description='How far its answers may be from those of the one before in the mean, such as "0.01"; left out where they are not compared.',
    )
    reason: ShortText = Field(default="", description="Why, in one word, such as FailsMoreOften.")
    message: Sentence = Field(default="", description="The same in a sentence, with the figures.")


class Groups(ObservedModel):
    """Copies of several pods, not all of which found a place."""

    incomplete: Whole = Field(
        default=0, ge=0, le=BIG, description="How often in a row that was so, such as 2."
    )
    limit: Whole = Field(
        default=0, ge=0, le=BIG, description="Copies that are kept meanwhile, such as 1."
    )
    at: ObservedTime | None = Field(
        default=None, description="Since when, such as 2027-01-31T18:00:00Z."
    )
    edition: ShortText = Field(
        default="", description="What was asked for then, such as 6f1c2a9b3e; an edit tries anew."
    )
    message: Sentence = Field(default="", description="What was missing, in a sentence.")


class InferenceServiceStatus(Status):
    """What is so of the service. Conditions: Ready Stalled ModelAvailable Optimized Scaled, and
    MeteringDrift once the ledger was compared with the model servers."""

    url: Sentence | None = Field(
        default=None, description="Where callers reach it, such as http://preamar-gateway/v1."
    )
    revision: ShortText | None = Field(
        default=None, description="The revision that is served, such as 6f1c2a9b."
    )
    model: ServedModel | None = Field(default=None, description="The model that is served.")
    replicas: Whole | None = Field(
        default=None, ge=0, le=BIG, description="Copies that exist, such as 2."
    )
    ready_replicas: Whole | None = Field(
        default=None, ge=0, le=BIG, description="Copies that answer, such as 2."
    )
    selector: Sentence | None = Field(
        default=None, description="The label selector of its pods, for /scale."
    )
    decision: Decision | None = Field(
        default=None, description="How many copies were last asked for, and why."
    )
    decisions: Annotated[tuple[Decision, ...], Field(max_length=20)] = Field(
        default=(), description="The last 20 changes of size, newest first."
    )
    learned: Learned | None = Field(default=None, description="What was measured of this model.")
    fit: Fit | None = Field(
        default=None,
        description="How the model was made to fit into memory, or why it was given up.",
    )
    groups: Groups | None = Field(
        default=None,
        description="What is missing for copies of several pods, and when it is tried again.",
    )
    optimization: Optimization | None = Field(
        default=None, description="What optimisation changed."
    )
    rollout: RolloutTold | None = Field(
        default=None, description="How far a new revision has come with strategy Canary."
    )
