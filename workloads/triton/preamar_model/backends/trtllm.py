"""How does text come from TensorRT-LLM? Its engine for PyTorch gives the new text of each stream; the
ranks that compute are processes of MPI beside this one (`backends/ranks.py`).

Prompts are cut into tokens here, so that what does not fit is refused before it is sent. Stops are looked
for in the text: TensorRT-LLM looks for their tokens, and misses a stop whose letters came in others.
"""

import asyncio
from typing import Any

from preamar_model.backends.decoding.generate_request import GenerateRequest
from preamar_model.backends.decoding.response import GeneratedText
from preamar_model.backends.decoding.stops import Stops
from preamar_model.backends.invalid import Invalid
from preamar_model.backends.llm import Front
from preamar_model.backends.ranks import Ranks

OVER = "shutting down"
"""What it says of each request after its engine has died."""


class TrtllmAdapter:
    name = "TensorRT-LLM"

    async def begin(self, arguments: dict, context: int) -> None:
        count = arguments["tensor_parallel_size"] * arguments["pipeline_parallel_size"]
        self.context, self.over = context, False
        self.ranks = Ranks(count)
        try:
            await asyncio.to_thread(self._load, dict(arguments))
        except BaseException:
            self.ranks.stop()
            raise

    def _load(self, arguments: dict) -> None:
        self.ranks.start()
        # Not before: the library reads where the ranks are while it is imported.
        from tensorrt_llm import LLM, SamplingParams
        from tensorrt_llm.llmapi import KvCacheConfig

        if cache := arguments.pop("kv_cache_config", None):
            arguments["kv_cache_config"] = KvCacheConfig(**cache)
        self.sampling = SamplingParams
        self.llm = LLM(**arguments)

    def ask(self, asked: GenerateRequest) -> "TrtllmText":
        tokens = list(self.llm.tokenizer.encode(asked.prompt))
        left = self.context - len(tokens)
        if not tokens:
            raise Invalid("The prompt has no tokens.")
        if left < 1:
            raise Invalid(
                f"context_length_exceeded: the prompt has {len(tokens)} tokens, and the context holds "
                f"{self.context} with the answer."
            )
        most = min(asked.max_tokens or left, left)
        how = self.sampling(max_tokens=most, seed=asked.seed, **chosen(asked))
        try:
            given = self.llm.generate_async(tokens, how, streaming=True)
        except ValueError as error:
            raise Invalid(str(error)) from error
        except RuntimeError as error:
            self.over = self.over or OVER in str(error)
            raise
        return TrtllmText(given, asked.stop, len(tokens))

    def dead(self) -> bool:
        return self.over or self.ranks.ended()

    def stop(self) -> None:
        self.llm.shutdown()
        self.ranks.stop()


class TrtllmText:
    def __init__(self, given: Any, stops: tuple[str, ...], tokens: int) -> None:
        self.given, self.stops, self.tokens = given, Stops(stops), tokens

    async def hear(self, said: GeneratedText) -> None:
        output = (await anext(self.given)).outputs[0]
        said.input_tokens = self.tokens
        said.output_tokens += len(output.token_ids_diff)
        said.text, met = self.stops.push(output.text_diff)
        said.finish = output.finish_reason or ""
        if met:
            if not said.finish:
                self.given.abort()
            said.finish = "stop"
        elif said.finish:
            said.text += self.stops.end()

    async def leave(self) -> None:
        self.given.abort()


def chosen(asked: GenerateRequest) -> dict[str, object]:
    """At temperature 0 the likeliest, which is said by another field."""
    if asked.temperature <= 0.0:
        return {"top_k": 1}
    return {"temperature": asked.temperature, "top_p": asked.top_p}


class TritonPythonModel(Front):
    make = TrtllmAdapter
