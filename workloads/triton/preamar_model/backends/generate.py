"""How does text come token by token, for many callers at once?

One loop gives each open stream one token a turn, in one call of the graph for all where the graph
allows it, so that all make progress and a caller who has left costs at most one more token.
`streams` are open at once; later ones wait their turn, and beyond WAITING they are refused.
"""

import json
import threading
from collections import deque
from dataclasses import replace

import numpy as np
import triton_python_backend_utils as utils
from tokenizers import Tokenizer

from preamar_model.backends import answers
from preamar_model.backends.counters import Counters
from preamar_model.backends.decoding import generate_request, ragged, routing
from preamar_model.backends.decoding.continuous_batching import ContinuousBatching
from preamar_model.backends.decoding.decoder import DecoderGraph
from preamar_model.backends.decoding.detokenise import Vocabulary
from preamar_model.backends.decoding.post import Post
from preamar_model.backends.decoding.response import GeneratedText, response
from preamar_model.backends.decoding.sequence import TextPiece, TokenSequence
from preamar_model.backends.decoding.single_stream import SingleStream
from preamar_model.backends.runtime import TritonGraph, graph, opened

WAITING = 1000
HALF = {"tensor(float16)": np.float16, "FP16": np.float16}


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        _, parameters, folder = opened(args)
        self.counters = Counters(args)
        self.decoder, self.routing = decoder(parameters, folder), None
        if self.decoder.routers:
            layers, tell = len(self.decoder.routers), routing.family(args)
            self.routing = routing.Routing(layers, int(parameters["experts"]), tell)
        self.streams = max(1, int(parameters["streams"]))
        self.waiting: deque[tuple[object, bytes]] = deque()
        self.changed = threading.Condition()
        self.closing = False
        shared = parameters.get("together") == "yes" and ragged.together(self.decoder)
        self.engine = ContinuousBatching(self.decoder) if shared else SingleStream(self.decoder)
        utils.Logger.log_info(f"streams run {'together' if shared else 'one by one'}")
        self.senders: dict[TokenSequence, object] = {}
        self.post = Post()
        if "graph" not in parameters:
            # A model that cannot answer must not become ready.
            self.decoder.read([self.decoder.start or 0], 0, self.decoder.empty)
        if self.routing:  # what was tried above is nobody's
            self.decoder = replace(self.decoder, routed=self.routing.saw)
            self.engine = type(self.engine)(self.decoder)
        self.loop = threading.Thread(target=self._loop, name="streams", daemon=True)
        self.loop.start()

    def execute(self, requests: list) -> None:
        for request in requests:
            sender = request.get_response_sender()
            raw = utils.get_input_tensor_by_name(request, "REQUEST").as_numpy().reshape(-1)
            with self.changed:
                if raw.size and len(self.waiting) < WAITING:
                    self.waiting.append((sender, raw[0]))
                    self.changed.notify()
                    continue
            said = f"{WAITING} requests are waiting already." if raw.size else "REQUEST is empty."
            self.post.end(
                sender,
                utils.InferenceResponse(
                    error=utils.TritonError(said, utils.TritonError.UNAVAILABLE)
                ),
            )

    def finalize(self) -> None:
        with self.changed:
            self.closing = True
            self.changed.notify()
        self.loop.join(timeout=10)
        self.post.close()

    def _loop(self) -> None:
        while self._admit():
            for story, sender in list(self.senders.items()):
                if sender in self.post.gone:
                    self._leave(story)
                elif not story.made:
                    self.post.send(sender, None)
            try:
                for story, told in self.engine.turn():
                    self._tell(story, told)
            except Exception as error:  # noqa: BLE001 - a loop that has ended would answer nobody
                for story in list(self.senders):
                    self._tell(story, error)
                self.engine = type(self.engine)(self.decoder)
            if self.routing and not self.senders:
                self.routing.flush()

    def _admit(self) -> bool:
        """Wait for work and open what there is room for; False when the model is unloaded."""
        with self.changed:
            while not (self.senders or self.waiting or self.closing):
                self.changed.wait()
            if self.closing and not self.senders and not self.waiting:
                return False
            room = max(0, self.streams - len(self.senders))
            entering = [self.waiting.popleft() for _ in range(min(room, len(self.waiting)))]
        for sender, raw in entering:
            try:
                story = TokenSequence(self.decoder, generate_request.read(raw))
            except Exception as error:  # noqa: BLE001 - the caller hears it; the others go on
                self.post.end(sender, utils.InferenceResponse(error=answers.failure(error)))
            else:
                self.senders[story] = sender
                self.engine.open(story)
        return True

    def _tell(self, story: TokenSequence, told: np.ndarray | Exception) -> None:
        """The caller hears of the next token, or why there is none."""
        if isinstance(told, Exception):
            return self._leave(story, utils.InferenceResponse(error=answers.failure(told)))
        try:
            piece = story.take(told)
            if not piece.finish:
                shown = shown_of(story, piece) if piece.text else None
                self.post.send(self.senders[story], shown)
        except Exception as error:  # noqa: BLE001 - the caller hears it; the others go on
            return self._leave(story, utils.InferenceResponse(error=answers.failure(error)))
        if piece.finish:
            self._leave(story, shown_of(story, piece))
        return None

    def _leave(self, story: TokenSequence, last: object | None = None) -> None:
        """It is counted before its caller can know that it has ended."""
        self.engine.close(story)
        self.counters.add(story.input_tokens, story.made)
        self.post.end(self.senders.pop(story), last)


def shown_of(story: TokenSequence, piece: TextPiece) -> object:
    return response(
        GeneratedText(piece.text, story.input_tokens, piece.output_tokens, piece.finish)
    )


def decoder(parameters: dict[str, str], folder: str) -> DecoderGraph:
    runner = graph(parameters, folder)
    if not isinstance(runner, TritonGraph):
        shapes = {name: (value.type, value.shape) for name, value in runner.inputs.items()}
    else:
        shapes = json.loads(parameters["graph_inputs"])
    empty = {
        name: np.zeros((1, shape[1], 0, shape[3]), HALF.get(kind, np.float32))
        for name, (kind, shape) in shapes.items()
        if name.startswith("past_key_values.")
    }
    start = parameters.get("start_token", "")
    return DecoderGraph(
        run=runner.run,
        array=runner.array,
        inputs=frozenset(shapes),
        empty=empty,
        vocabulary=Vocabulary(Tokenizer.from_file(f"{folder}/tokenizer.json")),
        context=int(parameters["max_context"]),
        ends=frozenset(json.loads(parameters["end_tokens"])),
        start=int(start) if start else None,
        routers=tuple(filter(None, parameters.get("routers", "").split(","))),
    )
