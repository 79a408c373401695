"""How the demo and the journeys call the gateway: unmodified clients, and a count of what they saw.

The count is kept on the client's side so that the gateway's own books can be held against it.
"""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from openai import APIError, AsyncOpenAI, OpenAI

from e2e.cluster import Cluster

SENTENCES = (
    "High tide lifts every boat in the harbour.",
    "The queue grew until a second replica came up.",
    "Gradient descent does not care about the weather.",
    "A checkpoint that was never read back is a hope.",
)


@dataclass(slots=True)
class Count:
    """What a client saw: requests that were answered, that failed, tokens and money as it was told."""

    answered: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal = Decimal(0)
    errors: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    def told(self, usage: Any) -> None:
        """An answer came, with this ``usage``."""
        self.answered += 1
        self.input_tokens += usage.prompt_tokens
        self.output_tokens += getattr(usage, "completion_tokens", 0)
        self.cost += Decimal(usage.cost)

    def add(self, other: "Count") -> None:
        """What another client saw too."""
        self.answered += other.answered
        self.failed += other.failed
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.cost += other.cost

    def percentile(self, share: float) -> float:
        """Latency in seconds that ``share`` of the answered requests stayed within."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def client(cluster: Cluster, seconds: float = 180.0) -> OpenAI:
    """The openai client as it is: no retries, so that a failure is seen and not hidden."""
    return OpenAI(
        base_url=f"{cluster.gateway_url}/v1",
        api_key=cluster.key(),
        max_retries=0,
        timeout=seconds,
    )


async def load(cluster: Cluster, model: str, callers: int, enough: asyncio.Event) -> Count:
    """``callers`` clients ask one after another until ``enough`` is set; what they counted."""
    count = Count()
    async with AsyncOpenAI(
        base_url=f"{cluster.gateway_url}/v1", api_key=cluster.key(), max_retries=0, timeout=180.0
    ) as caller:

        async def ask(number: int) -> None:
            while not enough.is_set():
                start = time.monotonic()
                try:
                    answer = await caller.embeddings.create(
                        model=model, input=[SENTENCES[number % len(SENTENCES)]] * 4
                    )
                except APIError as error:
                    count.failed += 1
                    count.errors[f"{type(error).__name__}: {error}"[:120]] += 1
                    await asyncio.sleep(0.2)  # a gateway that is down is not hammered
                else:
                    count.told(answer.usage)
                    count.latencies.append(time.monotonic() - start)

        await asyncio.gather(*(ask(number) for number in range(callers)))
    return count


@dataclass(frozen=True, slots=True)
class Used:
    """A tenant's use of one model, as the gateway's books have it, and what it is to pay for that."""

    requests: int
    input_tokens: int
    output_tokens: int
    cost: Decimal
    accelerator_ms: int = 0

    def since(self, before: "Used") -> "Used":
        return Used(
            self.requests - before.requests,
            self.input_tokens - before.input_tokens,
            self.output_tokens - before.output_tokens,
            self.cost - before.cost,
            self.accelerator_ms - before.accelerator_ms,
        )


def used(cluster: Cluster, tenant: str, model: str, kind: str) -> Used:
    """Read with the admin half of the same client; ``kind`` is ``completions`` or ``embeddings``."""
    admin = OpenAI(
        base_url=f"{cluster.admin_url}/v1",
        api_key="unused",
        admin_api_key=cluster.admin_key(),
        max_retries=0,
    )
    usage = getattr(admin.admin.organization.usage, kind)
    page = usage(
        start_time=int(time.time()) - 86_400,
        bucket_width="1d",
        limit=7,
        group_by=["project_id", "model"],
        project_ids=[tenant],
        models=[model],
    )
    rows = [row for bucket in page.data for row in bucket.results]
    owed = [row for row in costs(admin, tenant) if row.line_item.startswith(f"{model}, ")]
    held = [row for row in owed if row.line_item.endswith("accelerator milliseconds")]
    return Used(
        sum(row.num_model_requests for row in rows),
        sum(row.input_tokens for row in rows),
        sum(getattr(row, "output_tokens", 0) or 0 for row in rows),
        sum((Decimal(row.amount.decimal) for row in owed), Decimal(0)),
        int(sum(row.quantity for row in held)),
    )


def costs(admin: OpenAI, tenant: str) -> list[Any]:
    """What a tenant owes for each model and kind of quantity."""
    page = admin.admin.organization.usage.costs(
        start_time=int(time.time()) - 86_400,
        bucket_width="1d",
        limit=7,
        group_by=["project_id", "line_item"],
        project_ids=[tenant],
    )
    return [row for bucket in page.data for row in bucket.results]
