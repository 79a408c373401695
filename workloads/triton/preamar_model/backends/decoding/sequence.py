"""What happens to one stream? It asks for the logits after the tokens in `pending`; each call of `take`
draws a token from them, shows the text that is complete, and says why it ended.
"""

from dataclasses import dataclass

import numpy as np

from preamar_model.backends.decoding.decoder import DecoderGraph
from preamar_model.backends.decoding.generate_request import GenerateRequest
from preamar_model.backends.decoding.sampling import Sampler
from preamar_model.backends.decoding.stops import Stops
from preamar_model.backends.invalid import Invalid


@dataclass(frozen=True, slots=True)
class TextPiece:
    text: str
    output_tokens: int
    finish: str
    """Empty until the last piece: `stop` or `length`."""


class TokenSequence:
    def __init__(self, decoder: DecoderGraph, wish: GenerateRequest) -> None:
        tokens = decoder.vocabulary.tokenizer.encode(wish.prompt).ids
        if not tokens and decoder.start is not None:
            tokens = [decoder.start]
        if not tokens:
            raise Invalid("The prompt is empty.")
        if len(tokens) >= decoder.context:
            raise Invalid(
                f"context_length_exceeded: the prompt has {len(tokens)} tokens; "
                f"the context holds {decoder.context} with the answer."
            )
        self.input_tokens = len(tokens)
        self.limit = min(wish.max_tokens or decoder.context, decoder.context - len(tokens))
        self.ends = decoder.ends
        self.pending = tokens
        """Tokens that the graph has not read yet."""
        self.length = 0
        """How many it has."""
        self.made = 0
        self.sampler = Sampler(wish.temperature, wish.top_p, wish.seed)
        self.text = decoder.vocabulary.stream()
        self.stops = Stops(wish.stop)

    def was_read(self, count: int) -> None:
        """The graph has read so many of the pending tokens."""
        self.length += count
        self.pending = self.pending[count:]

    def take(self, logits: np.ndarray) -> TextPiece:
        """``logits`` [vocabulary] follow all that was read. Raises `ValueError` where no token is
        possible."""
        token = self.sampler.pick(logits)
        self.made += 1
        self.pending = [token]
        if token in self.ends:
            return self._last(self.text.end(), "stop")
        shown, stopped = self.stops.push(self.text.push(token))
        if stopped:
            return TextPiece(shown, self.made, "stop")
        if self.made >= self.limit:
            last = self._last(self.text.end(), "length")
            return TextPiece(shown + last.text, self.made, last.finish)
        return TextPiece(shown, self.made, "")

    def _last(self, rest: str, finish: str) -> TextPiece:
        shown, stopped = self.stops.push(rest)
        if stopped:
            return TextPiece(shown, self.made, "stop")
        return TextPiece(shown + self.stops.end(), self.made, finish)
