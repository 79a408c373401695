"""``Tenant``: who pays, how much they may spend, and what they may call."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from preamar.api import GROUP, VERSION
from preamar.api.fields.collections import Distinct
from preamar.api.fields.names import NAME_RULES
from preamar.api.fields.scalars import Amount, Currency, Label63, ModelName, Signed, Whole
from preamar.api.meta import ObjectMeta, Readable, SpecModel, Status


class Period(StrEnum):
    """When a budget starts anew."""

    MONTH = "Month"
    PREPAID = "Prepaid"


class Budget(SpecModel):
    """How much the tenant may spend."""

    currency: Currency = Field(default="USD", description="ISO 4217 code, such as USD.")
    amount: Amount = Field(description='The most that may be spent, such as "100.00".')
    period: Period = Field(
        default=Period.MONTH,
        description="Month (anew on the first of each month, UTC) or Prepaid (once).",
    )


class Limits(SpecModel):
    """How fast the tenant may go; no limit where a field is left out."""

    requests_per_minute: Whole | None = Field(
        default=None, ge=0, le=1_000_000_000, description="Requests per minute, such as 600."
    )
    tokens_per_minute: Whole | None = Field(
        default=None,
        ge=0,
        le=1_000_000_000_000,
        description="Input and output tokens per minute, such as 100000.",
    )
    concurrent: Whole | None = Field(
        default=None, ge=0, le=1_000_000, description="Requests at the same time, such as 20."
    )
    accelerator_hours: Amount | None = Field(
        default=None, description='Accelerator-hours per budget period, such as "40".'
    )


class TenantSpec(SpecModel):
    """What the tenant may do, and pays for."""

    namespaces: Annotated[tuple[Label63, ...], Field(max_length=256), Distinct] = Field(
        default=(),
        description="Namespaces whose jobs and services the tenant pays for, such as [demo].",
    )
    budget: Budget | None = Field(
        default=None, description="How much the tenant may spend; no limit when left out."
    )
    limits: Limits = Field(default=Limits(), description="How fast the tenant may go.")
    models: Annotated[tuple[ModelName, ...], Field(max_length=256), Distinct] = Field(
        default=(), description="Models the tenant may call, such as [minilm]; empty allows all."
    )
    priority: Whole = Field(
        default=0,
        ge=-1000,
        le=1000,
        description="Tenants with a higher number are served first when all are waiting, such as 10.",
    )


class TenantStatus(Status):
    """What the tenant has spent, written by the operator."""

    spent: Signed | None = Field(
        default=None, description='Money spent in this period, such as "12.50".'
    )
    reserved: Signed | None = Field(
        default=None, description='Money set aside for running work, such as "0.40".'
    )
    remaining: Signed | None = Field(
        default=None, description='Money left in this period, such as "87.10".'
    )


class Tenant(SpecModel):
    """Who pays for requests, services and jobs."""

    api_version: Literal["preamar.dev/v1alpha1"] = f"{GROUP}/{VERSION}"  # type: ignore[assignment]
    kind: Literal["Tenant"] = "Tenant"
    metadata: ObjectMeta = ObjectMeta()
    spec: TenantSpec = Field(description="What the tenant may do, and pays for.")
    status: Readable[TenantStatus] = Field(
        default=TenantStatus(), description="What is so, written by the operator."
    )
    rules = NAME_RULES
