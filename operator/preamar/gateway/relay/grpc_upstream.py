"""gRPC calls to replicas: one channel each; what was not sent is tried again; a stream stays on its
replica until that leaves, and then goes on with another. What a model server says of its errors is
not passed on.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from time import monotonic
from typing import Any

import grpc
import grpc.aio

from preamar.gateway.errors import Problem, bad, broken_off, model_failed, unreachable
from preamar.gateway.metering import token_outputs
from preamar.gateway.metering.call import Call
from preamar.gateway.metering.grpc_counts import GrpcCounts
from preamar.gateway.relay import cost_bounds, tensors
from preamar.gateway.relay.grpc_messages import Messages
from preamar.gateway.relay.model_config import read_config_of
from preamar.gateway.relay.shadow import Comparer, Question
from preamar.gateway.routing.canary_stats import COMPARED_SECONDS
from preamar.gateway.routing.fair_queue import Turn
from preamar.gateway.routing.queue import ModelQueue
from preamar.gateway.routing.replica import Replica, Slot
from preamar.gateway.wire import protobuf
from preamar.protocol import answer_distance

SERVICE = "/inference.GRPCInferenceService/"
ATTEMPTS = 5
UNTRIED = 1.0
"""The lot of a request that is not for a revision on trial."""
_FAILED = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE}


class GrpcUpstream:
    """The channels to all replicas that were called."""

    def __init__(self, answer_seconds: float, comparer: Comparer) -> None:
        self._answer_seconds = answer_seconds
        self._comparer = comparer
        self._channels: dict[Replica, Any] = {}
        self._sweeping: set[asyncio.Task[None]] = set()

    async def enter(self, queue: ModelQueue, turn: Turn, call: Call) -> Slot:
        """A place on a replica, after waiting for one. Raises ``Problem``."""
        cold = not queue.awake
        slot = await queue.enter(turn)
        call.entered(slot)
        if cold:
            call.woke()
        return slot

    async def ask(
        self, queue: ModelQueue, method: str, body: bytes, call: Call
    ) -> tuple[bytes, Replica]:
        """One answer and whose it is, held until a replica has room. Raises ``Problem``."""
        turn = queue.turn(call.caller.tenant, call.priority)
        if method == "ModelInfer":
            body = token_outputs.over_grpc(queue.model.task, body)
        for attempt in range(ATTEMPTS):
            slot = await self.enter(queue, turn, call)
            reached = True
            try:
                if method == "ModelInfer":
                    await _cover(call, queue, slot.replica, len(body), 1)
                send = self._channel(slot.replica).unary_unary(SERVICE + method)
                answer = bytes(await send(body, timeout=self._seconds(call)))
                slot.answered, slot.good = method == "ModelInfer", True
                return answer, slot.replica
            except grpc.aio.AioRpcError as error:
                reached = not _not_sent(error)
                if not reached:
                    call.lost()
                slot.good = None if error.code() not in _FAILED else False
                if reached and not _failed_on_trial(slot):
                    raise _explained(queue, error, slot.replica) from None
                if reached:
                    call.lost()
                    turn = turn._replace(trial=UNTRIED)
            finally:
                slot.release(reached=reached)
            await queue.pause(0.05 * attempt)
        raise unreachable(queue.model.name)

    def answered(self, queue: ModelQueue, replica: Replica, body: bytes, answer: bytes) -> None:
        """A ``ModelInfer`` has its answer; it may be compared with that of another replica."""

        async def ask(other: Replica) -> answer_distance.Answer:
            send = self._channel(other).unary_unary(SERVICE + "ModelInfer")
            try:
                return tensors.of_grpc(bytes(await send(body, timeout=COMPARED_SECONDS)))
            except grpc.aio.AioRpcError as error:
                raise ValueError(error.code().name) from None

        def got() -> answer_distance.Answer:
            # As by HTTP: the state of a sequence is not to be disturbed.
            if b"sequence_id" in body:
                raise ValueError("it is one of a sequence")
            return tensors.of_grpc(answer)

        self._comparer.offer(queue, replica, Question(len(body), len(answer), ask, got))

    async def converse(
        self, queue: ModelQueue, messages: Messages, call: Call, began: Callable[[], None]
    ) -> AsyncIterator[bytes]:
        """The answers of one stream as they come, counted in ``call``; ``began`` is called when
        there is a replica. Raises ``Problem``.

        When the replica leaves, it answers what it has heard, and the next message goes to another.
        """
        turn, attempts = queue.turn(call.caller.tenant, call.priority), 0
        counts = GrpcCounts(call, queue.model.task)
        while await messages.more():
            slot = await self.enter(queue, turn, call)
            began()
            reached = True
            try:
                async for answer in self._relay(slot, queue, messages, counts, call):
                    yield answer
                slot.answered, slot.good = True, slot.good is not False
            except _NotHeard as lost:
                reached = lost.reached
                call.lost()
                attempts += 1
                if attempts >= ATTEMPTS:
                    raise unreachable(queue.model.name) from None
            finally:
                slot.release(reached=reached)
            if slot.good:
                turn = turn._replace(arrived=monotonic())
            else:
                if reached:
                    turn = turn._replace(trial=UNTRIED)
                await queue.pause(0.05 * (attempts - 1))

    async def _relay(
        self, slot: Slot, queue: ModelQueue, messages: Messages, counts: GrpcCounts, call: Call
    ) -> AsyncIterator[bytes]:
        """The part of a stream that one replica hears. Raises ``Problem`` or ``_NotHeard``."""
        heard: list[bytes] = []
        too_dear: list[Problem] = []
        over = asyncio.Event()  # what is put back is not for the call that failed

        async def given() -> AsyncIterator[bytes]:
            retired = slot.replica.pool.retired
            while (message := await messages.next(retired, over)) is not None:
                heard[:] = [*heard[:1], message]  # the first, and whether there was a second
                counts.heard(len(message))
                try:
                    await _cover(call, queue, slot.replica, counts.size, counts.messages)
                    passed = counts.named(token_outputs.over_grpc(queue.model.task, message))
                except Problem as problem:
                    # Nothing more is said; what was asked before is still answered.
                    too_dear.append(problem)
                    return
                yield passed

        stream = self._channel(slot.replica).stream_stream(SERVICE + "ModelStreamInfer")
        left = None if call.deadline is None else self._seconds(call)
        sending = stream(given(), timeout=left)
        answered = False
        try:
            async for answer in sending:
                inner, failed = _inner(answer)
                if failed:
                    if _fails_on_trial(slot) and not answered and len(heard) <= 1:
                        over.set()
                        _put_back(messages, heard)
                        raise _NotHeard(reached=True)
                    answered = True
                    yield protobuf.message(1, model_failed(queue.model.name).message.encode())
                    continue
                answered = True
                passed = counts.answered(bytes(answer), inner)
                slot.made(counts.made)
                yield passed
            if too_dear:
                raise too_dear[0]
        except grpc.aio.AioRpcError as error:
            reached = not _not_sent(error)
            slot.good = False if reached and error.code() in _FAILED else None
            again = not reached or _failed_on_trial(slot)
            if again and not answered and len(heard) <= 1:
                over.set()
                _put_back(messages, heard)
                raise _NotHeard(reached=reached) from None
            raise _explained(queue, error, slot.replica) from None
        finally:
            over.set()
            sending.cancel()

    def _seconds(self, call: Call) -> float:
        """How long an answer may take."""
        if call.deadline is None:
            return self._answer_seconds
        return max(0.001, min(self._answer_seconds, call.deadline - monotonic()))

    def _channel(self, replica: Replica) -> Any:
        channel = self._channels.get(replica)
        if channel is None:
            ip = f"[{replica.address.ip}]" if ":" in replica.address.ip else replica.address.ip
            channel = self._channels[replica] = grpc.aio.insecure_channel(
                f"{ip}:{replica.address.grpc}",
                options=[
                    ("grpc.max_receive_message_length", -1),
                    ("grpc.max_send_message_length", -1),
                    ("grpc.use_local_subchannel_pool", 1),
                ],
            )
        return channel

    def sweep_soon(self) -> None:
        """As ``sweep``, for who cannot wait: an idle channel would delay the end of a replica that
        serves on until its callers are gone."""
        if any(not replica.usable for replica in self._channels):
            task = asyncio.get_running_loop().create_task(self.sweep())
            self._sweeping.add(task)
            task.add_done_callback(self._sweeping.discard)

    async def sweep(self) -> None:
        """Close channels of replicas that left."""
        for replica in [r for r in self._channels if not r.usable and not r.in_flight]:
            await self._channels.pop(replica).close()

    async def close(self) -> None:
        """End all channels."""
        for channel in self._channels.values():
            await channel.close()


async def _cover(call: Call, queue: ModelQueue, replica: Replica, size: int, messages: int) -> None:
    """Set aside what so many messages with so many bytes can cost. Raises ``Problem``."""
    if cost_bounds.endless(call, queue.model.task):
        about = await read_config_of(replica, queue.model.name)
        await cost_bounds.cover_answers(call, size, about, messages * queue.model.batch)
    else:
        await cost_bounds.cover(call, size, 0, messages)


class _NotHeard(Exception):
    """The replica could not be reached, or is on trial and failed; nothing of the stream is lost."""

    def __init__(self, *, reached: bool) -> None:
        super().__init__()
        self.reached = reached


def _fails_on_trial(slot: Slot) -> bool:
    """Note an error within a stream, which says of other replicas that the request was wrong."""
    if slot.replica.address.canary:
        slot.good = False
    return _failed_on_trial(slot)


def _failed_on_trial(slot: Slot) -> bool:
    """Whether the revision before is asked what this one failed on, as it would have been without a
    trial: the share of a revision on trial is the bound."""
    return slot.good is False and slot.replica.address.canary


def _put_back(messages: Messages, heard: list[bytes]) -> None:
    for message in heard:
        messages.put_back(message)


def _inner(answer: bytes) -> tuple[bytes, bool]:
    """The response within a stream's message, and whether the message is an error."""
    inner, failed = b"", False
    try:
        for number, value in protobuf.fields(answer):
            if number == 1 and value:
                failed = True
            elif number == 2 and isinstance(value, bytes):
                inner = value
    except protobuf.NotProtobuf:
        failed = True
    return inner, failed


def _not_sent(error: grpc.aio.AioRpcError) -> bool:
    details = error.details() or ""
    return error.code() is grpc.StatusCode.UNAVAILABLE and "ailed to connect" in details


def _explained(queue: ModelQueue, error: grpc.aio.AioRpcError, replica: Replica) -> Problem:
    name = queue.model.name
    if _not_sent(error):
        return unreachable(name)
    if error.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}:
        return bad(f"The model '{name}' refused the request: check its inputs.")
    if error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}:
        return broken_off(name, stopped=not replica.usable)
    return model_failed(name)
