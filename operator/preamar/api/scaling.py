"""How many copies of a model run, what waits for them, and how they are replaced."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StrictStr

from preamar.api.fields.scalars import Above0, Whole
from preamar.api.meta import SpecModel
from preamar.api.rules import Rule


class ScalingMode(StrEnum):
    """Who writes ``spec.replicas``."""

    MANAGED = "Managed"
    EXTERNAL = "External"
    FIXED = "Fixed"


class Signal(StrEnum):
    """What the number of copies follows."""

    IN_FLIGHT = "InFlight"
    QUEUE_SECONDS = "QueueSeconds"
    FIRST_TOKEN_SECONDS = "FirstTokenSeconds"  # noqa: S105


class Strategy(StrEnum):
    """How a new revision replaces the one before."""

    ROLLING = "Rolling"
    CANARY = "Canary"


Goal = Annotated[StrictStr, Field(max_length=10, pattern=r"^[0-9]{1,6}(\.[0-9]{1,3})?$"), Above0]


class Target(SpecModel):
    """What each copy should carry."""

    signal: Signal = Field(
        default=Signal.IN_FLIGHT,
        description="InFlight (requests queued and running), QueueSeconds (how long one may wait before a copy takes it) or FirstTokenSeconds (how long until the first token).",
    )
    value: Goal = Field(
        default="8",
        description='The goal: requests per copy for InFlight, else seconds, such as "8".',
    )


class Scaling(SpecModel):
    """Who decides the number of copies, and how."""

    mode: ScalingMode = Field(
        default=ScalingMode.MANAGED,
        description="Managed (Preamar writes replicas), External (an HPA, KEDA or a person does) or Fixed.",
    )
    min: Whole = Field(
        default=0,
        ge=0,
        le=1000,
        description="Copies at least in mode Managed, such as 0, which lets an idle model sleep.",
    )
    max: Whole = Field(
        default=4, ge=1, le=1000, description="Copies at most in mode Managed, such as 4."
    )
    target: Target = Field(default=Target(), description="What each copy should carry.")
    idle_seconds: Whole = Field(
        default=60,
        ge=0,
        le=604_800,
        description="How long without a request before zero copies, in seconds, such as 60; or as long as a copy takes to start, if that is longer.",
    )
    rules = (
        Rule(
            "self.min <= self.max",
            lambda s: s.min <= s.max,
            "must not be greater than scaling.max",
            ".min",
        ),
    )


class Hold(SpecModel):
    """Requests that are kept while no copy is ready."""

    max_requests: Whole = Field(
        default=200,
        ge=0,
        le=100_000,
        description="Requests kept at most, such as 200; more are answered 503.",
    )
    max_seconds: Whole = Field(
        default=120, ge=0, le=3600, description="How long each is kept, in seconds, such as 120."
    )


class Drain(SpecModel):
    """How a copy that must go finishes its work."""

    seconds: Whole = Field(
        default=60,
        ge=0,
        le=3600,
        description="How long running requests may take to finish, in seconds, such as 60.",
    )


class Canary(SpecModel):
    """How traffic moves to a new revision, step by step."""

    percent: Whole = Field(
        default=10,
        ge=1,
        le=100,
        description="The share of requests that each step adds, in percent, such as 10.",
    )
    interval_seconds: Whole = Field(
        default=60, ge=1, le=86_400, description="The time between steps, in seconds, such as 60."
    )
    steps: Whole = Field(
        default=3, ge=1, le=100, description="Steps before all traffic moves, such as 3."
    )
    rules = (
        Rule(
            "self.percent * self.steps <= 100",
            lambda c: c.percent * c.steps <= 100,
            "percent x steps must not exceed 100",
        ),
    )


class Rollout(SpecModel):
    """How a new revision replaces the one before."""

    strategy: Strategy = Field(
        default=Strategy.ROLLING,
        description="Rolling (copy by copy) or Canary (traffic step by step).",
    )
    canary: Canary = Field(
        default=Canary(), description="The steps of strategy Canary; ignored for Rolling."
    )
