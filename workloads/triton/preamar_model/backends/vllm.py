"""How does text come from vLLM? Its engine runs in this process and gives the new text of each
stream. Over several pods this is the leader; what the others run is in `group/headless.py`.
"""

import os
from itertools import count

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine.async_llm import AsyncLLM

from preamar_model.backends.decoding.generate_request import GenerateRequest
from preamar_model.backends.decoding.response import GeneratedText
from preamar_model.backends.invalid import Invalid
from preamar_model.backends.llm import Front
from preamar_model.group.headless import place

TOO_LONG = ("maximum model length", "maximum context length")
"""What vLLM says of a prompt that does not fit."""


class VllmAdapter:
    name = "vLLM"

    def __init__(self) -> None:
        self.names = count()

    async def begin(self, arguments: dict, context: int) -> None:
        if arguments.get("nnodes", 1) > 1:
            arguments = arguments | place(os.environ)
        use = UsageContext.ENGINE_CONTEXT
        config = AsyncEngineArgs(**arguments).create_engine_config(usage_context=use)
        self.engine = AsyncLLM.from_vllm_config(vllm_config=config, usage_context=use)
        self.context = context

    def ask(self, asked: GenerateRequest) -> "VllmText":
        return VllmText(self.engine, f"r{next(self.names)}", asked, self.context)

    def dead(self) -> bool:
        return self.engine.errored

    def stop(self) -> None:
        self.engine.shutdown()


class VllmText:
    def __init__(self, engine: AsyncLLM, name: str, asked: GenerateRequest, context: int) -> None:
        self.engine, self.name = engine, name
        self.given = engine.generate(asked.prompt, sampling(asked, context), name)

    async def hear(self, said: GeneratedText) -> None:
        try:
            output = await anext(self.given)
        except ValueError as error:
            fits = not any(words in str(error) for words in TOO_LONG)
            raise Invalid(f"{'' if fits else 'context_length_exceeded: '}{error}") from error
        new = output.outputs[0]
        said.text = new.text
        said.input_tokens = len(output.prompt_token_ids)
        said.output_tokens += len(new.token_ids)
        said.finish = new.finish_reason or ""

    async def leave(self) -> None:
        await self.engine.abort(self.name)


def sampling(asked: GenerateRequest, context: int) -> SamplingParams:
    return SamplingParams(
        temperature=asked.temperature,
        top_p=asked.top_p,
        # Never left out: vLLM's own default is 16 tokens. More than fits ends at the context.
        max_tokens=min(asked.max_tokens or context, context),
        stop=list(asked.stop),
        seed=asked.seed,
        output_kind=RequestOutputKind.DELTA,
    )


class TritonPythonModel(Front):
    make = VllmAdapter
