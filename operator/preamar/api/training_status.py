"""What the operator says of a ``TrainingJob``."""

from typing import Annotated

from pydantic import Field

from preamar.api.fields.scalars import ObservedTime, Sentence, ShortText, Signed, Whole
from preamar.api.meta import ObservedModel, Status

BIG = 2**53
Size = Annotated[Whole, Field(ge=0, le=BIG)]


class Progress(ObservedModel):
    """How far training is."""

    step: Size = Field(default=0, description="Steps done, such as 420.")
    steps: Size = Field(default=0, description="Steps to do, such as 1000.")
    loss: Signed | None = Field(default=None, description='The training loss now, such as "2.31".')
    samples_per_second: Signed | None = Field(
        default=None, description='Samples per second, such as "512.5".'
    )
    data_wait_ratio: Signed | None = Field(
        default=None,
        description='Share of the time of steps that is spent waiting for data, such as "0.0200".',
    )
    eta_seconds: Size | None = Field(
        default=None, description="Seconds until the last step at this speed, such as 3600."
    )


class Samples(ObservedModel):
    """What became of the data, counted by the ranks sample by sample."""

    consumed: Size = Field(
        default=0,
        description="Samples that the present weights were trained on, such as 26880: steps x batch.global.",
    )
    skipped: Size = Field(
        default=0, description="Samples up to here that no step took; should be 0."
    )
    duplicated: Size = Field(
        default=0,
        description="Samples that count twice in the present weights; should be 0. Steps trained again after a failure are none: what they had changed was thrown away.",
    )


class LastCheckpoint(ObservedModel):
    """The last checkpoint."""

    step: Size = Field(default=0, description="The step it was taken at, such as 400.")
    uri: Sentence = Field(default="", description="Where it is, such as pvc://ckpt/run1.")
    at: ObservedTime | None = Field(default=None, description="When, such as 2027-01-31T18:00:00Z.")
    bytes: Size | None = Field(default=None, description="Its size in bytes, such as 91000000.")
    verified: bool = Field(
        default=False, description="Whether every file was read back and matched its hash."
    )
    save_seconds: Signed | None = Field(
        default=None,
        description='Seconds that saving takes, the 95th percentile of this attempt, such as "4.2".',
    )
    every_seconds: Signed | None = Field(
        default=None,
        description='Seconds between checkpoints that schedule Auto has chosen, such as "310".',
    )
    manifest_hash: ShortText | None = Field(
        default=None, description="The hash of the list of its files, 64 hexadecimal digits."
    )
    world_size: Size | None = Field(
        default=None, description="Ranks that wrote it, such as 2; another number needs a resize."
    )


class Resize(ObservedModel):
    """One change of the number of workers."""

    from_: Size = Field(default=0, alias="from", description="Workers before, such as 2.")
    to: Size = Field(default=0, description="Workers after, such as 4.")
    reason: ShortText = Field(default="", description="Why, in one word, such as UserAsked.")
    pause_seconds: Signed | None = Field(
        default=None,
        description='Seconds from the last step before to the first step after, such as "14.2".',
    )
    loss_delta: Signed | None = Field(
        default=None,
        description='By how much the loss on a few held-out samples changed across it, in nats per token, such as "0.000000012".',
    )
    at: ObservedTime | None = Field(
        default=None, description="When it was taken up, such as 2027-01-31T18:00:00Z."
    )
    attempt: Size | None = Field(
        default=None, description="The attempt that was to begin with it, such as 3."
    )
    outcome: ShortText = Field(
        default="Verified",
        description="Verified, or RolledBack where the job went on at the size before.",
    )


class Goodput(ObservedModel):
    """Where the accelerators' time went."""

    useful_seconds: Size = Field(
        default=0,
        description="Seconds spent on steps that count, and on evaluation and export at the end.",
    )
    startup_seconds: Size = Field(
        default=0, description="Seconds from complete gangs to their first step, and to their end."
    )
    checkpoint_seconds: Size = Field(default=0, description="Seconds spent on checkpoints.")
    resize_seconds: Size = Field(default=0, description="Seconds spent on changing size.")
    rollback_seconds: Size = Field(
        default=0,
        description="Seconds in vain because of failures: steps to be done again, and until it was noticed.",
    )
    waiting_seconds: Size = Field(
        default=0,
        description="Seconds without a complete gang: for accelerators, between attempts.",
    )
    suspended_seconds: Size = Field(
        default=0, description="Seconds of suspension, which belong to none of the others."
    )
    unsaved_seconds: Size = Field(
        default=0, description="Of usefulSeconds, those that a failure now would lose."
    )
    faults: Size = Field(default=0, description="Failures and interruptions so far, such as 1.")
    at: ObservedTime | None = Field(
        default=None,
        description="Up to when seconds are counted, such as 2027-01-31T18:00:00Z; all but suspendedSeconds and unsavedSeconds add up to the time from the first attempt to then, less suspension.",
    )


class Quote(ObservedModel):
    """What the job needs: estimated before it starts, from its own speed once it runs."""

    memory_bytes_per_rank: Size | None = Field(
        default=None,
        description="Estimated memory of each rank in bytes, such as 12000000000: weights, gradients, optimizer and activations, without Python and its libraries.",
    )
    memory_error_percent: Signed | None = Field(
        default=None, description='How far off that may be, in percent either way, such as "20".'
    )
    seconds: Size | None = Field(
        default=None, description="Time to train all steps in seconds, such as 7200."
    )
    cost: Signed | None = Field(
        default=None, description='Money at the fleet table\'s price, such as "12.50".'
    )
    currency: ShortText | None = Field(
        default=None, description="The price's currency, such as USD."
    )
    joules: Signed | None = Field(
        default=None,
        description='Energy in joules if the accelerators draw all that their boards may, such as "3600000".',
    )
    error_percent: Signed | None = Field(
        default=None,
        description='How far off seconds and cost may be, in percent either way, such as "15".',
    )
    basis: ShortText | None = Field(
        default=None,
        description="Published (figures of the accelerator's maker) or Measured (this job's own speed).",
    )
    accelerator: ShortText | None = Field(
        default=None, description="The fleet table's row that was used, such as H100."
    )
    samples_per_second: Signed | None = Field(
        default=None, description='The measured speed, such as "512.5".'
    )
    world_size: Size | None = Field(
        default=None, description="The ranks of that speed or estimate, such as 8."
    )


class UsedInterconnect(ObservedModel):
    """By which way the ranks talk, as they found before the first step."""

    expected: ShortText = Field(
        default="", description="The expected way: Local, NVLink, RDMA or TCP."
    )
    used: ShortText = Field(default="", description="The way that was found, such as TCP.")
    detail: Sentence = Field(
        default="", description="What says so, such as eth0 10.244.0.7, or NCCL's own words."
    )


class Gang(ObservedModel):
    """Attempts in a row of which not all workers could start."""

    incomplete: Size = Field(default=0, description="How many, such as 2.")
    attempt: Size = Field(default=0, description="The last of them, such as 3.")
    at: ObservedTime | None = Field(
        default=None, description="When it was ended, such as 2027-01-31T18:00:00Z."
    )
    generation: Size = Field(default=0, description="The resource's generation then, such as 4.")
    explanation: Sentence = Field(
        default="", description="Who could not start and why, in one sentence."
    )
    fits: Size | None = Field(
        default=None,
        description="Workers that had places and with which the job goes on, such as 1; none where it waits for all.",
    )


class Failure(ObservedModel):
    """Why the last attempt failed."""

    class_: ShortText = Field(
        default="Unknown", alias="class", description="The kind of failure, such as OutOfMemory."
    )
    rank: Annotated[Whole, Field(ge=-1, le=BIG)] | None = Field(
        default=None, description="The rank that failed first, such as 1."
    )
    explanation: Sentence = Field(default="", description="What happened, in one sentence.")
    step: Size | None = Field(
        default=None, description="The step in which it failed, such as 417; none before the first."
    )
    times: Size | None = Field(
        default=None, description="Failures in a row at this step, such as 2."
    )


class Evaluation(ObservedModel):
    """How good the trained model is on text it has not seen."""

    loss: Signed | None = Field(
        default=None, description='The held-out loss in nats per token, such as "2.45".'
    )
    unigram: Signed | None = Field(
        default=None,
        description='The loss of a unigram model on the same text, such as "3.10"; lower than it is better.',
    )


class PreparedData(ObservedModel):
    """What the prepare Job made."""

    key: ShortText = Field(
        default="", description="What it was asked for, in ten characters, such as 0a1b2c3d4e."
    )
    uri: Sentence = Field(
        default="", description="Where the tokens are, such as pvc://corpora/gpt/0a1b2c3d4e-5f60."
    )
    digest: ShortText = Field(
        default="", description="The digest of the tokens, sha256: and 64 hexadecimal digits."
    )
    documents: Size = Field(default=0, description="Documents read, such as 120000.")
    kept: Size = Field(default=0, description="Documents kept, such as 98000.")
    tokens: Size = Field(default=0, description="Tokens to train on, such as 250000000.")


class TrainingJobStatus(Status):
    """What is so of the job. Conditions: Succeeded Running Suspended Stalled ContinuityVerified."""

    selector: Sentence | None = Field(
        default=None, description="The label selector of its pods, for /scale."
    )
    workers: Size | None = Field(default=None, description="Workers that run, such as 2.")
    world_size: Size | None = Field(
        default=None, description="Ranks that run: workers x ranksPerWorker, such as 2."
    )
    valid_world_sizes: Annotated[tuple[Size, ...], Field(max_length=64)] = Field(
        default=(),
        description="Numbers of ranks that a scale may ask for, such as [1, 2, 4]; all keep the global batch. At most 64 are listed, the nearest to the present one.",
    )
    attempt: Size | None = Field(
        default=None, description="The running or last attempt, from 1; each is a Job."
    )
    restarts: Size | None = Field(
        default=None, description="Restarts counted against restarts.limit, such as 1."
    )
    resized: Size | None = Field(
        default=None,
        description="Attempts that began at another size than the one before, such as 2; no limit counts them.",
    )
    started_at: ObservedTime | None = Field(
        default=None, description="When the first attempt started, such as 2027-01-31T18:00:00Z."
    )
    finished_at: ObservedTime | None = Field(
        default=None, description="When the job ended, such as 2027-01-31T19:00:00Z."
    )
    progress: Progress | None = Field(default=None, description="How far training is.")
    samples: Samples | None = Field(default=None, description="What became of the data.")
    data: PreparedData | None = Field(
        default=None, description="What the prepare Job made of the sources."
    )
    checkpoint: LastCheckpoint | None = Field(default=None, description="The last checkpoint.")
    resizes: Annotated[tuple[Resize, ...], Field(max_length=20)] = Field(
        default=(), description="The last 20 changes of the number of workers, newest first."
    )
    goodput: Goodput | None = Field(
        default=None, description="Where the accelerators' time went, in seconds."
    )
    quote: Quote | None = Field(
        default=None, description="What the job needs, and how far off that may be."
    )
    interconnect: UsedInterconnect | None = Field(
        default=None, description="By which way the ranks of the last attempt talk."
    )
    gang: Gang | None = Field(
        default=None,
        description="Attempts that were ended because not all workers got accelerators; absent once all have.",
    )
    failure: Failure | None = Field(default=None, description="Why the last attempt failed.")
    evaluation: Evaluation | None = Field(
        default=None, description="How good the trained model is on text it has not seen."
    )
    exported: Sentence | None = Field(
        default=None, description="Where the trained model is, such as pvc://models/gpt."
    )
