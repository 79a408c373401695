"""A model server for tests: KServe v2 over real sockets, with handles for everything that can go
wrong. It counts what it was asked and what was cancelled."""

import asyncio
import json
import struct

from aiohttp import web


class FakeTriton:
    def __init__(self, words=("one ", "two ", "three"), template="", pause=0.0):
        self.words = list(words)
        self.template = template
        self.pause = pause
        self.requests = []
        self.cancelled = 0
        self.finished = 0
        self.die_after = None
        self.error_after = None
        self.stop_after = None
        self.hang_up = 0
        self.status = 200
        self.answer = b""
        self.loaded = True
        self.asked_ready = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.rest = asyncio.Event()  # without it, a stream stands still after its first word
        self.rest.set()
        self.port = 0
        self.bend = 0.0  # how far its vectors are from what others answer
        self.packs = False
        self.wavers = False  # whether that is another each time
        self.answered = self.tokens = 0
        self.counts = True

    async def __aenter__(self):
        app = web.Application(client_max_size=1 << 30)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/v2/models/{m}/config", self._config)
        app.router.add_get("/v2/models/{m}/ready", self._ready)
        for version in ("", "/versions/1"):
            app.router.add_get(f"/v2/models/{{m}}{version}", self._metadata)
            app.router.add_post(f"/v2/models/{{m}}{version}/infer", self._infer)
        app.router.add_post("/v2/models/{m}/generate_stream", self._stream)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    async def _metrics(self, request):
        told = f'nv_inference_request_success{{model="gpt",version="1"}} {self.answered}\n'
        if self.counts:
            told += f'preamar_model_tokens_total{{model="gpt",kind="output"}} {self.tokens}\n'
        return web.Response(text=told)

    async def _config(self, request):
        parameters = {"max_context": "64", "chat_template": self.template}
        return web.json_response(
            {"parameters": {k: {"string_value": v} for k, v in parameters.items()}}
        )

    async def _ready(self, request):
        self.asked_ready += 1
        return web.Response(status=200 if self.loaded else 400)

    async def _metadata(self, request):
        name = request.match_info["m"]
        return web.json_response({"name": name, "versions": ["1"], "inputs": [], "outputs": []})

    async def _infer(self, request):
        body = await request.read()
        self.requests.append((request.path, dict(request.headers), body))
        await self.gate.wait()
        if self.status != 200:
            return web.json_response({"error": "secret: /dev/shm/region7"}, status=self.status)
        if self.answer:
            head, tail = self.answer
            return web.Response(
                body=head + tail,
                headers={
                    "Inference-Header-Content-Length": str(len(head)),
                    "Content-Type": "application/octet-stream",
                },
            )
        try:
            texts = json.loads(body)["inputs"][0]["data"]
        except (ValueError, LookupError, TypeError):
            return web.json_response({"error": "secret: cannot parse"}, status=400)
        bend = self.bend * (-1) ** (len(self.requests) if self.wavers else 0)
        raw = b"".join(struct.pack("<3f", len(text), 0.5 + bend, -1.0) for text in texts)
        head = json.dumps(
            {
                "outputs": [
                    {
                        "name": "EMBEDDING",
                        "datatype": "FP32",
                        "shape": [len(texts), 3],
                        "parameters": {"binary_data_size": len(raw)},
                    },
                    {
                        "name": "INPUT_TOKENS",
                        "datatype": "INT32",
                        "shape": [len(texts), 1],
                        "data": [len(text.split()) for text in texts],
                    },
                ]
            }
        ).encode()
        self.finished += 1
        response = web.Response(
            body=head + raw, headers={"Inference-Header-Content-Length": str(len(head))}
        )
        if self.packs:  # by gzip or deflate, as Triton does for callers who take it
            response.enable_compression()
        return response

    async def _stream(self, request):
        try:
            asked = json.loads(json.loads(await request.read())["REQUEST"])
        except (ValueError, LookupError, TypeError):
            return web.json_response({"error": "secret: cannot parse"}, status=400)
        self.requests.append((request.path, dict(request.headers), asked))
        try:
            await self.gate.wait()
            if self.hang_up:
                self.hang_up -= 1
                request.transport.abort()
                return web.Response()
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            for at, word in enumerate(self.words):
                if self.error_after == at:
                    await response.write(b'data: {"error":"secret: /dev/shm/region7"}\n\n')
                    return response
                if self.stop_after == at:
                    return response
                if self.die_after == at:
                    request.transport.abort()
                    return response
                if at == 1:
                    await self.rest.wait()
                await response.write(_event(word, at + 1, ""))
                await asyncio.sleep(self.pause)
            self.answered += 1
            self.tokens += 4 + len(self.words)
            await response.write(_event("", len(self.words), "stop"))
            self.finished += 1
            return response
        except (asyncio.CancelledError, ConnectionResetError):
            self.cancelled += 1
            raise


def _event(text, made, finish):
    event = {
        "model_name": "m", "TEXT": text, "INPUT_TOKENS": 4, "OUTPUT_TOKENS": made,
        "FINISH_REASON": finish,
    }  # fmt: skip
    return b"data: " + json.dumps(event).encode() + b"\n\n"
