"""In the place of TensorRT-LLM, which needs a GPU: the names that we use of it, and an answer that anyone
can foresee. A word of the prompt is a token; the answer is the prompt's words again and again.
"""

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from tensorrt_llm.llmapi import KvCacheConfig

# The real one looks while it is imported, too.
RANKS = int(os.environ["tllm_mpi_size"])  # noqa: SIM112 - their name
assert os.environ["TLLM_SPAWN_PROXY_PROCESS"] == "1"


@dataclass
class SamplingParams:
    max_tokens: int = 32
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None


class Words:
    """A tokenizer whose tokens are words."""

    def __init__(self) -> None:
        self.known: list[str] = []

    def encode(self, text: str) -> list[int]:
        self.known += [word for word in text.split() if word not in self.known]
        return [self.known.index(word) for word in text.split()]


class Request:
    """What is asked for with streaming: each step is the same object with more in it."""

    def __init__(self, words: list[str], most: int) -> None:
        self.words, self.most, self.made, self.over = words, most, 0, False
        self.outputs = [SimpleNamespace(text_diff="", token_ids_diff=[], finish_reason=None)]

    def __aiter__(self) -> "Request":
        return self

    async def __anext__(self) -> "Request":
        if self.over:
            raise StopAsyncIteration
        first = self.words[0]
        await asyncio.sleep({"hang": 3600, "slow": 0.2}.get(first, 0.002))
        if first == "break" and self.made == 2:
            raise RuntimeError("the engine is dead")
        new = self.outputs[0]
        new.text_diff = f" {self.words[self.made % len(self.words)]}"
        new.token_ids_diff = [self.made]
        self.made += 1
        self.over = self.made == self.most
        new.finish_reason = "length" if self.over else None
        return self

    def abort(self) -> None:
        sys.stderr.write("aborted\n")
        sys.stderr.flush()


class LLM:
    def __init__(
        self,
        model: str,
        tensor_parallel_size: int = 1,
        pipeline_parallel_size: int = 1,
        moe_expert_parallel_size: int | None = None,
        max_batch_size: int | None = None,
        max_seq_len: int | None = None,
        enable_chunked_prefill: bool = False,
        trust_remote_code: bool = False,
        kv_cache_config: KvCacheConfig | None = None,
    ) -> None:
        assert Path(model, "model.safetensors").is_file()
        assert tensor_parallel_size * pipeline_parallel_size == RANKS
        self.tokenizer = Words()

    def generate_async(
        self, inputs: list[int], sampling_params: SamplingParams, streaming: bool = False
    ) -> Request:
        assert streaming
        greedy = sampling_params.top_k == 1
        assert (sampling_params.temperature is None) is greedy
        words = [self.tokenizer.known[token] for token in inputs]
        return Request(words, sampling_params.max_tokens)

    def shutdown(self) -> None: ...
