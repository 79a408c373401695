"""How does text come from vLLM? Its engine runs in this process and joins all streams token by token;
each caller hears the new text, the counts so far, and why it ended.

NVIDIA's own vLLM backend would have to be called from inside for this, stream by stream. In Triton
2.51 that aborted the server under a dozen callers, lost errors after the first answer, and gave no way
to take a request back; the engine itself has none of these faults, and its counts are exact.
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import triton_python_backend_utils as utils
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine.async_llm import AsyncLLM

from preamar_model.backends import answers, wish
from preamar_model.backends.counters import Counters
from preamar_model.backends.runtime import opened
from preamar_model.backends.said import Said, end, response

WAITING = 1000
LOOK_SECONDS = 0.25
LOAD_SECONDS, STOP_SECONDS = 3600, 10
ENDS = {"stop", "length"}
TOO_LONG = ("maximum model length", "maximum context length")
"""What vLLM says of a prompt that does not fit."""


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        _, parameters, folder = opened(args)
        self.context = int(parameters["max_context"])
        self.counters = Counters(args)
        self.most = max(1, int(parameters["streams"])) + WAITING
        self.names = count()
        self.open: set[asyncio.Task] = set()
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, name="vllm", daemon=True).start()
        arguments = json.loads(Path(folder, "model.json").read_text())
        self.engine = self._run(begin(arguments), LOAD_SECONDS)
        # A model that cannot answer must not become ready.
        self._run(self._tell(None, wish.Wish("a", max_tokens=1), Said()), LOAD_SECONDS)

    def execute(self, requests: list) -> None:
        for request in requests:
            sender = request.get_response_sender()
            raw = utils.get_input_tensor_by_name(request, "REQUEST").as_numpy().reshape(-1)
            self.loop.call_soon_threadsafe(self._admit, sender, raw[0] if raw.size else b"")

    def finalize(self) -> None:
        self._run(self._stop(), STOP_SECONDS)
        self.loop.call_soon_threadsafe(self.loop.stop)

    def _run(self, work: object, seconds: float) -> object:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    async def _stop(self) -> None:
        if self.open:
            await asyncio.wait(self.open, timeout=STOP_SECONDS / 2)
        self.engine.shutdown()

    def _admit(self, sender: object, raw: bytes) -> None:
        if len(self.open) >= self.most:
            said = f"{len(self.open)} requests are open already."
            full = utils.TritonError(said, utils.TritonError.UNAVAILABLE)
            end(sender, utils.InferenceResponse(error=full))
            return
        task = self.loop.create_task(self._serve(sender, raw))
        self.open.add(task)
        task.add_done_callback(self.open.discard)

    async def _serve(self, sender: object, raw: bytes) -> None:
        said = Said()
        try:
            try:
                await self._tell(sender, wish.read(raw), said)
            finally:
                # Before the caller can know of the end: what reads both then finds both.
                self.counters.add(said.input_tokens, said.output_tokens)
        except Exception as error:  # noqa: BLE001 - the caller hears it; the others go on
            end(sender, utils.InferenceResponse(error=answers.failure(error)))
        else:
            end(sender, response(said) if said.finish else None)

    async def _tell(self, sender: object, asked: wish.Wish, said: Said) -> None:
        """Until the end, which is left in ``said``; or until the caller has left."""
        if not asked.prompt:
            raise answers.Invalid("The prompt is empty.")
        name = f"r{next(self.names)}"
        given = self.engine.generate(asked.prompt, sampling(asked, self.context), name)
        try:
            while not said.finish:
                output = await self._next(sender, given)
                if output is None:
                    await self.engine.abort(name)
                    return
                hear(output, said)
                if sender is not None and said.text and not said.finish:
                    sender.send(response(said))
        except ValueError as error:
            fits = not any(words in str(error) for words in TOO_LONG)
            raise answers.Invalid(
                f"{'' if fits else 'context_length_exceeded: '}{error}"
            ) from error

    async def _next(self, sender: object, given: AsyncIterator) -> object | None:
        """The next output; None once the caller has left, also while nothing comes."""
        step = asyncio.ensure_future(anext(given))
        while True:
            if sender is not None and sender.is_cancelled():
                step.cancel()
                return None
            if (await asyncio.wait({step}, timeout=LOOK_SECONDS))[0]:
                try:
                    return step.result()
                except StopAsyncIteration:
                    raise RuntimeError("vLLM ended the text without a reason") from None


async def begin(arguments: dict) -> AsyncLLM:
    """vLLM's engine, once its weights are on the GPUs."""
    told = AsyncEngineArgs(**arguments)
    use = UsageContext.ENGINE_CONTEXT
    config = told.create_engine_config(usage_context=use)
    return AsyncLLM.from_vllm_config(vllm_config=config, usage_context=use)


def sampling(asked: wish.Wish, context: int) -> SamplingParams:
    return SamplingParams(
        temperature=asked.temperature,
        top_p=asked.top_p,
        # Never left out: vLLM's own default is 16 tokens. More than fits ends at the context.
        max_tokens=min(asked.max_tokens or context, context),
        stop=list(asked.stop),
        seed=asked.seed,
        output_kind=RequestOutputKind.DELTA,
    )


def hear(output: object, said: Said) -> None:
    """Take in one output: the text and the tokens since the one before."""
    new = output.outputs[0]
    said.text = new.text
    said.input_tokens = len(output.prompt_token_ids)
    said.output_tokens += len(new.token_ids)
    if new.finish_reason is not None and new.finish_reason not in ENDS:
        raise RuntimeError(f"vLLM ended the text: {new.finish_reason}")
    said.finish = new.finish_reason or ""
