import asyncio
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

from vllm.sampling_params import RequestOutputKind


class Nodes:
    """The other nodes, each of which takes part in each token."""

    def __init__(self, config: object) -> None:
        self.lines = []
        if config.nnodes == 1:
            return
        assert config.node_rank == 0
        assert config.distributed_executor_backend == "mp"
        with socket.create_server((config.master_addr, config.master_port)) as listener:
            listener.settimeout(30)
            while len(self.lines) < config.nnodes - 1:
                lines = listener.accept()[0].makefile("rw")
                told = lines.readline().strip()
                assert told == str(config.said()), f"{told} is not {config.said()}"
                self.lines.append(lines)

    def computed(self, number: int) -> int:
        for lines in self.lines:
            lines.write(f"{number}\n")
            lines.flush()
            number = int(lines.readline())
        return number


class AsyncLLM:
    def __init__(self, config: object) -> None:
        assert Path(config.model, "model.safetensors").is_file()
        self.config = config
        self.errored = False
        self.nodes = Nodes(config)

    @classmethod
    def from_vllm_config(cls, vllm_config: object, usage_context: object) -> "AsyncLLM":
        asyncio.get_running_loop()  # the real one asks for it too
        return cls(vllm_config)

    def shutdown(self) -> None: ...

    async def abort(self, request_id: str) -> None:
        sys.stderr.write(f"aborted {request_id}\n")
        sys.stderr.flush()

    async def generate(self, prompt: str, sampling_params: object, request_id: str):
        words, most = prompt.split(), self.config.max_model_len
        assert sampling_params.output_kind is RequestOutputKind.DELTA
        if len(words) >= most:
            raise ValueError(
                f"The decoder prompt (length {len(words)}) is longer than the maximum model length of {most}."
            )
        if words[0] == "hang":
            await asyncio.sleep(3600)
        if words[0] == "die":
            self.errored = True
            raise RuntimeError("the engine is dead")
        count = min(sampling_params.max_tokens, most - len(words))
        for n in range(count):
            await asyncio.sleep(0.2 if words[0] == "slow" else 0.002)
            if words[0] == "break" and n == 2:
                raise RuntimeError("the engine is dead")
            word = words[self.nodes.computed(n) % len(words)]
            stopped = f" {word}" in sampling_params.stop
            ended = "stop" if stopped else "length" if n == count - 1 else None
            new = SimpleNamespace(
                text="" if stopped else f" {word}", token_ids=[n], finish_reason=ended
            )
            yield SimpleNamespace(prompt_token_ids=list(range(len(words))), outputs=[new])
            if stopped:
                return
