"""May this request run? Found, allowed, affordable, in time: one policy for every door.

A door reads who asks for what and how long it waits, and says what comes of it in the words of its
protocol. Each refusal is a ``Problem``.
"""

from time import monotonic

from preamar.gateway.auth.caller import Caller
from preamar.gateway.auth.keyring import Keyring
from preamar.gateway.discovery.resources import ModelResource
from preamar.gateway.errors import forbidden, ledger_down, unknown_model, wrong_task
from preamar.gateway.limits.reservations import Most
from preamar.gateway.metering.call import MOST_SECONDS, Call
from preamar.gateway.metering.metrics import NOBODY, UNKNOWN
from preamar.gateway.metering.request_id import new_id
from preamar.gateway.metering.usage_recorder import UsageRecorder
from preamar.gateway.routing.queue import ModelQueue
from preamar.gateway.routing.registry import ModelRegistry
from preamar.ledger.tables.usage_record import UsageKind


class RequestContext:
    """What is known of a request so far, whichever door it came by. ``deadline`` is on the monotonic
    clock, None where its caller did not say how long it waits."""

    __slots__ = ("call", "caller", "deadline", "id", "model", "rates")

    def __init__(self) -> None:
        self.id = new_id()
        self.model = UNKNOWN
        self.caller: Caller | None = None
        self.call: Call | None = None
        self.deadline: float | None = None
        self.rates: dict[str, str] = {}
        """What is left of its caller's rates, as headers."""

    @property
    def tenant(self) -> str:
        """As metrics name it."""
        return NOBODY if self.caller is None else self.caller.tenant

    @property
    def authorized(self) -> Caller:
        """Whose key came with it, once that is known."""
        assert self.caller is not None
        return self.caller

    def wait(self, seconds: float) -> None:
        """The caller waits so long from now."""
        self.deadline = monotonic() + seconds


class Admission:
    """The way of a request from its key to an accepted call. Each step raises ``Problem``."""

    def __init__(self, registry: ModelRegistry, keyring: Keyring, recorder: UsageRecorder) -> None:
        self.registry = registry
        self._keyring = keyring
        self._recorder = recorder

    def identify(self, context: RequestContext, authorization: str) -> None:
        """Whose key is it?"""
        context.caller = self._keyring.authorize(authorization)

    def may(self, caller: Caller, model: ModelResource) -> bool:
        """Whether the model, the tenant and the key all agree."""
        tenant, name = self._recorder.reservations.limits(caller.tenant), model.name
        return model.admits(caller.tenant) and tenant.admits(name) and caller.limits.admits(name)

    def find(self, context: RequestContext, name: str, task: str | None = None) -> ModelQueue:
        """Is there such a model, of that ``task`` where one is named, and may the caller use it, as
        long as that can be recorded?"""
        queue = self.registry.queues.get(name)
        if queue is None:
            raise unknown_model(name)
        context.model = name
        if not self.may(context.authorized, queue.model):
            raise forbidden(name)
        if task is not None and queue.model.task != task:
            raise wrong_task(name, queue.model.task)
        if not self._recorder.home.healthy:
            raise ledger_down()
        return queue

    async def admit(
        self,
        context: RequestContext,
        queue: ModelQueue,
        endpoint: str,
        input_tokens: int,
        output_tokens: int = 0,
    ) -> Call:
        """Can its caller pay for that many tokens at most, now? The call is for a ``with`` block:
        leaving it in any way leaves a row."""
        caller, model = context.authorized, queue.model
        left = None if context.deadline is None else context.deadline - monotonic()
        reservation = await self._recorder.reservations.admit(
            caller.tenant,
            caller.key_id,
            caller.limits,
            model.price,
            most_of(model, input_tokens, output_tokens, left),
        )
        kind = UsageKind.EMBEDDINGS if model.task == "Embed" else UsageKind.COMPLETIONS
        call = Call(self._recorder, context.id, caller, model, endpoint, kind, reservation)
        call.deadline = context.deadline
        context.call = call
        context.rates = reservation.headers()
        return call

    def ended(self, context: RequestContext, status: int) -> None:
        """Count a request by what its caller saw of its end."""
        self._recorder.meters.request(context.model, context.tenant, status)


def most_of(model: ModelResource, given: int, made: int, seconds: float | None) -> Most:
    """What a request to a model uses at most that has at most so many tokens; ``seconds`` is how
    long its caller waits, if it said so."""
    if not model.price.accelerator_second:
        return Most(given, made)
    longest = MOST_SECONDS if seconds is None else min(seconds, MOST_SECONDS)
    return Most(given, made, int(1000 * longest) * model.accelerators)
