"""OpenAI's addresses: which models there are, text that they complete, and vectors of texts."""

from collections.abc import AsyncIterator
from datetime import datetime
from time import time
from typing import Any

from aiohttp import web

from preamar.gateway.endpoints import chat_template, embed, generate, openai_request
from preamar.gateway.endpoints.http_context import HttpContext
from preamar.gateway.endpoints.openai_request import SamplingParams
from preamar.gateway.endpoints.openai_response import CompletionFormat
from preamar.gateway.errors import unknown_model
from preamar.gateway.metering.admission import Admission
from preamar.gateway.metering.settlement import Settlement
from preamar.gateway.relay import cost_bounds
from preamar.gateway.relay.model_config import read_config
from preamar.gateway.relay.shadow import Comparer, over_http
from preamar.gateway.relay.upstream import Upstream
from preamar.gateway.routing import affinity
from preamar.gateway.routing.queue import ModelQueue

DEFAULT_COMPLETION_TOKENS = 16
Messages = list[dict[str, str]]


class OpenAI:
    """Answers what has a key that is known. Raises ``Problem``."""

    def __init__(self, admission: Admission, upstream: Upstream, comparer: Comparer) -> None:
        self._admission = admission
        self._upstream = upstream
        self._comparer = comparer
        self.posts = {
            "/v1/embeddings": self._embeddings,
            "/v1/completions": self._completions,
            "/v1/chat/completions": self._chat,
        }

    def models(self, name: str, context: HttpContext) -> web.Response:
        """One model, or all that the caller may use."""
        queues, caller = self._admission.registry.queues, context.authorized
        if name:
            queue = queues.get(name)
            if queue is None or not self._admission.may(caller, queue.model):
                raise unknown_model(name)
            answer: dict[str, Any] = _model(queue)
        else:
            known = [queues[key] for key in sorted(queues)]
            shown = [_model(queue) for queue in known if self._admission.may(caller, queue.model)]
            answer = {"object": "list", "data": shown}
        return web.json_response(answer, headers={"x-request-id": context.id})

    async def _embeddings(self, context: HttpContext) -> web.StreamResponse:
        request = await context.json()
        texts, encoding = openai_request.texts_of(request), embed.encoding_of(request)
        queue = self._admission.find(context, openai_request.model_name(request), "Embed")
        model = queue.model
        most = cost_bounds.tokens_of(context.body_size, len(texts))
        with (
            await self._admission.admit(context, queue, "/v1/embeddings", most) as call,
            self._upstream.visit(queue, call) as visit,
        ):
            vectors, first = await embed.vectors(visit, model.name, texts, model.batch, call)
            visit.leave()
            async with Settlement(call):
                embed.check_dimensions(request, vectors)
                call.stop_clock()
                body = embed.answer_of(model.name, vectors, call.input_tokens, call.cost, encoding)
                call.first_token()
            if first is not None:
                self._compare(queue, first)
            return context.answer(queue, body)

    def _compare(self, queue: ModelQueue, sent: embed.Sent) -> None:
        head, replica = sent.answer.head, sent.answer.replica
        question = over_http(sent.path, embed.HEADER, sent.body, head, sent.data)
        self._comparer.offer(queue, replica, question)

    async def _completions(self, context: HttpContext) -> web.StreamResponse:
        request = await context.json()
        params = openai_request.params_of(request, DEFAULT_COMPLETION_TOKENS)
        prompt = openai_request.prompt_of(request)
        return await self._generate(context, request, params, prompt, None)

    async def _chat(self, context: HttpContext) -> web.StreamResponse:
        request = await context.json()
        params = openai_request.params_of(request, None)
        messages = openai_request.messages_of(request)
        return await self._generate(context, request, params, "", messages)

    async def _generate(
        self,
        context: HttpContext,
        request: dict[str, Any],
        params: SamplingParams,
        prompt: str,
        messages: Messages | None,
    ) -> web.StreamResponse:
        queue = self._admission.find(context, openai_request.model_name(request), "Generate")
        name, endpoint = queue.model.name, context.request.path
        shape = CompletionFormat(
            context.id, name, int(time()), chat=messages is not None, usage=params.include_usage
        )
        alike = affinity.of_text(prompt) if messages is None else affinity.of_messages(messages)
        most = cost_bounds.tokens_of(context.body_size), params.max_tokens or 0
        with (
            await self._admission.admit(context, queue, endpoint, *most) as call,
            self._upstream.visit(queue, call, alike) as visit,
        ):

            async def pieces() -> AsyncIterator[generate.Piece]:
                text, longest = prompt, params.max_tokens
                if params.max_tokens is not None:
                    visit.expect(params.max_tokens)
                if messages is not None:
                    about = await read_config(visit, name)
                    if about.max_context:
                        longest = min(params.max_tokens or about.max_context, about.max_context)
                        visit.expect(longest)
                    text = chat_template.prompt_of(about.chat_template, messages, name)
                    await cost_bounds.cover(call, len(text.encode()), longest)
                body = generate.body_of(text, params)
                return generate.pieces(self._upstream, visit, name, body, direct)

            direct = generate.Direct(call, shape) if params.stream else None
            if direct is None:
                body = await generate.whole(pieces(), call, shape)
                visit.leave()
                return context.answer(queue, body)
            async with context.streaming(queue) as stream:
                return await generate.streamed(
                    pieces(), call, shape, stream, direct, usage=params.include_usage
                )


def _model(queue: ModelQueue) -> dict[str, Any]:
    try:
        created = int(datetime.fromisoformat(queue.model.created).timestamp())
    except ValueError:
        created = 0
    return {"id": queue.model.name, "object": "model", "created": created, "owned_by": "preamar"}
