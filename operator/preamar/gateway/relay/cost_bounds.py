"""What can a request cost at most? Known before it is sent, or it is not sent for one with a budget.

A token is at least one byte of text for every tokenizer that reads bytes or characters; a few are
added by it to each text. Bodies as they arrive are never shorter than the text in them.
"""

from preamar.gateway.limits.refusals import unbounded
from preamar.gateway.metering.call import Call
from preamar.gateway.relay.model_config import ModelConfig

ADDED = 8
"""Tokens that a tokenizer puts around a text."""


def tokens_of(size: int, texts: int = 1) -> int:
    """The most tokens that a body of ``size`` bytes with that many texts can have."""
    return size + ADDED * texts


async def cover(call: Call, size: int, output_tokens: int | None, texts: int = 1) -> None:
    """Set more aside for a call whose texts have ``size`` bytes and whose answers so many tokens,
    None where nobody knows. Raises ``Problem``."""
    if not call.reservation.bounded:
        return
    if output_tokens is None:
        if call.price.million_output_tokens:
            raise unbounded()
        output_tokens = 0
    await call.reservation.cover(tokens_of(size, texts), output_tokens)


def endless(call: Call, task: str) -> bool:
    """Whether a call by KServe v2 has to be measured by its model: its answer's tokens cost money,
    its caller has a budget, and the request itself does not say how many there will be. Raises
    ``Problem`` where the model cannot say it either."""
    if not (call.reservation.bounded and call.price.million_output_tokens):
        return False
    if task != "Generate":
        raise unbounded()
    return True


async def cover_answers(call: Call, size: int, about: ModelConfig, answers: int) -> None:
    """Set aside what that many answers cost at most. Raises ``Problem``."""
    most = about.max_context * answers if about.max_context else None
    await cover(call, size, most, answers)
