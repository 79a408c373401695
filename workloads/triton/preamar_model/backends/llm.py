"""How do callers reach an engine that joins all streams by itself? One task of an event loop for each:
it hears the engine, tells its caller the new text and the counts, and takes the request out of the engine
once the caller has left.

NVIDIA's own backends for such engines would have to be called from inside for this, stream by stream. In
Triton 2.51 that aborted the server under a dozen callers, lost errors after the first answer, and gave no
way to take a request back; the engines themselves have none of these faults, and their counts are exact.
"""

import asyncio
import json
import os
import sys
import threading
from pathlib import Path
from typing import Protocol

import triton_python_backend_utils as utils

from preamar_model.backends import answers
from preamar_model.backends.counters import Counters
from preamar_model.backends.decoding import generate_request
from preamar_model.backends.decoding.generate_request import GenerateRequest
from preamar_model.backends.decoding.response import GeneratedText, end, response
from preamar_model.backends.runtime import opened

WAITING = 1000
LOOK_SECONDS, LIFE_SECONDS = 0.25, 1.0
LOAD_SECONDS, STOP_SECONDS = 3600, 10
ENDS = {"stop", "length"}


class EngineText(Protocol):
    """A request that is under way in an engine."""

    async def hear(self, said: GeneratedText) -> None:
        """Take in what comes next: text and tokens since the last, and at the end the reason. Raises
        `Invalid` for a request that does not fit."""

    async def leave(self) -> None:
        """Take it out of the engine."""


class EngineAdapter(Protocol):
    """``name`` is what callers and logs read."""

    name: str

    async def begin(self, arguments: dict, context: int) -> None:
        """Until its weights are on the GPUs. ``context`` is in tokens, the answer included."""

    def ask(self, asked: GenerateRequest) -> EngineText:
        """Raises `Invalid`."""

    def dead(self) -> bool:
        """Whether it will never answer again."""

    def stop(self) -> None:
        """Free what it holds."""


class Front:
    """A model of Triton's Python backend; each engine's module names its `make`."""

    make: type

    def initialize(self, args: dict[str, str]) -> None:
        _, parameters, folder = opened(args)
        self.counters = Counters(args)
        self.most = max(1, int(parameters["streams"])) + WAITING
        self.open: set[asyncio.Task] = set()
        self.engine: EngineAdapter = self.make()
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, name="engine", daemon=True).start()
        arguments = json.loads(Path(folder, "model.json").read_text())
        self._run(self.engine.begin(arguments, int(parameters["max_context"])), LOAD_SECONDS)
        # A model that cannot answer must not become ready.
        self._run(
            self._tell(None, GenerateRequest("a", max_tokens=1), GeneratedText()), LOAD_SECONDS
        )
        self.life = asyncio.run_coroutine_threadsafe(self._live(), self.loop)

    def execute(self, requests: list) -> None:
        for request in requests:
            sender = request.get_response_sender()
            raw = utils.get_input_tensor_by_name(request, "REQUEST").as_numpy().reshape(-1)
            self.loop.call_soon_threadsafe(self._admit, sender, raw[0] if raw.size else b"")

    def finalize(self) -> None:
        self.life.cancel()
        self._run(self._stop(), STOP_SECONDS)
        self.loop.call_soon_threadsafe(self.loop.stop)

    def _run(self, work: object, seconds: float) -> object:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    async def _stop(self) -> None:
        if self.open:
            await asyncio.wait(self.open, timeout=STOP_SECONDS / 2)
        self.engine.stop()

    async def _live(self) -> None:
        """Triton would call a model ready whose engine is dead, and each answer would be an error."""
        while not self.engine.dead():  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(LIFE_SECONDS)
        await asyncio.sleep(LIFE_SECONDS)  # whoever was cut hears why
        print(
            f"ended: {self.engine.name} is dead, so the model begins anew",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)

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
        said = GeneratedText()
        try:
            try:
                await self._tell(sender, generate_request.read(raw), said)
            finally:
                # Before the caller can know of the end: what reads both then finds both.
                self.counters.add(said.input_tokens, said.output_tokens)
        except Exception as error:  # noqa: BLE001 - the caller hears it; the others go on
            end(sender, utils.InferenceResponse(error=answers.failure(error)))
        else:
            end(sender, response(said) if said.finish else None)

    async def _tell(self, sender: object, asked: GenerateRequest, said: GeneratedText) -> None:
        """Until the end, which is left in ``said``; or until the caller has left."""
        if not asked.prompt:
            raise answers.Invalid("The prompt is empty.")
        text = self.engine.ask(asked)
        while not said.finish:
            if not await self._heard(sender, text, said):
                await text.leave()
                return
            if said.finish and said.finish not in ENDS:
                raise RuntimeError(f"{self.engine.name} ended the text: {said.finish}")
            if sender is not None and said.text and not said.finish:
                sender.send(response(said))

    async def _heard(self, sender: object, text: EngineText, said: GeneratedText) -> bool:
        """The next of it; False once the caller has left, also while nothing comes."""
        step = asyncio.ensure_future(text.hear(said))
        while True:
            if sender is not None and sender.is_cancelled():
                step.cancel()
                return False
            if (await asyncio.wait({step}, timeout=LOOK_SECONDS))[0]:
                try:
                    step.result()
                except StopAsyncIteration:
                    raise RuntimeError(
                        f"{self.engine.name} ended the text without a reason"
                    ) from None
                return True
