"""What happens to one stream? One call of `step` is one token: run the graph, draw, show the text
that is complete, and say why it ended. The cache of keys and values travels from step to step.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from preamar_model.backends.answers import Invalid
from preamar_model.backends.detokenise import Vocabulary
from preamar_model.backends.sampling import Sampler
from preamar_model.backends.stops import Stops
from preamar_model.backends.wish import Wish


@dataclass(frozen=True, slots=True)
class Decoder:
    """What all streams of a model share."""

    run: Callable[[Mapping[str, object], list[str]], dict[str, object]]
    array: Callable[[object], np.ndarray]
    inputs: frozenset[str]
    empty: Mapping[str, np.ndarray]
    """The cache before the first token."""
    vocabulary: Vocabulary
    context: int
    ends: frozenset[int]
    start: int | None


@dataclass(frozen=True, slots=True)
class Piece:
    text: str
    output_tokens: int
    finish: str
    """Empty until the last piece: `stop` or `length`."""


class Story:
    def __init__(self, decoder: Decoder, wish: Wish) -> None:
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
        self.decoder = decoder
        self.input_tokens = len(tokens)
        self.limit = min(wish.max_tokens or decoder.context, decoder.context - len(tokens))
        self.cache: Mapping[str, object] = decoder.empty
        self.next = tokens
        self.length = 0
        self.made = 0
        self.sampler = Sampler(wish.temperature, wish.top_p, wish.seed)
        self.text = decoder.vocabulary.stream()
        self.stops = Stops(wish.stop)

    def step(self) -> Piece:
        token = self.sampler.pick(self._logits())
        self.made += 1
        self.next = [token]
        if token in self.decoder.ends:
            return self._last(self.text.end(), "stop")
        shown, stopped = self.stops.push(self.text.push(token))
        if stopped:
            return Piece(shown, self.made, "stop")
        if self.made >= self.limit:
            last = self._last(self.text.end(), "length")
            return Piece(shown + last.text, self.made, last.finish)
        return Piece(shown, self.made, "")

    def _last(self, rest: str, finish: str) -> Piece:
        shown, stopped = self.stops.push(rest)
        if stopped:
            return Piece(shown, self.made, "stop")
        return Piece(shown + self.stops.end(), self.made, finish)

    def _logits(self) -> np.ndarray:
        ids = np.array([self.next], np.int64)
        places = np.arange(self.length, self.length + ids.shape[1], dtype=np.int64)[None]
        self.length += ids.shape[1]
        feed: dict[str, object] = {"input_ids": ids, "position_ids": places}
        feed["attention_mask"] = np.ones((1, self.length), np.int64)
        feed = {name: value for name, value in feed.items() if name in self.decoder.inputs}
        given = self.decoder.run(
            feed | dict(self.cache), ["logits", *(present(name) for name in self.cache)]
        )
        self.cache = {name: given[present(name)] for name in self.cache}
        return self.decoder.array(given["logits"])[0, -1]


def present(name: str) -> str:
    return name.replace("past_key_values", "present", 1)
