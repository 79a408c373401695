"""Who computes for TensorRT-LLM? Ranks of MPI, one a GPU, which its own launcher starts.

The library would start them from this process, which MPI refuses to a process of Triton. The launcher
runs a program beside the ranks and tells it in its environment where they are; the program given to it
(`backends/env_dump.py`) hands that environment over and stays for as long as this process does.
"""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

LENT = Path(__file__).with_name("env_dump.py")
START_SECONDS, STOP_SECONDS = 300.0, 5.0
PREFIX = "tllm_"
"""Of the variables that the launcher adds, in small letters."""


class Ranks:
    """``count`` ranks, on the GPUs of this pod."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """Until the launcher has said where they are. Raises `RuntimeError`."""
        with tempfile.TemporaryDirectory(prefix="ranks-") as place:
            told = Path(place, "environment.json")
            # Without --bind-to each rank, with all its threads, would be held on one core.
            launcher = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(self.count)]
            program = ["python3", str(LENT), str(os.getpid()), str(told), PREFIX]
            self.process = subprocess.Popen(
                [*launcher, "trtllm-llmapi-launch", *program],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            deadline = time.monotonic() + START_SECONDS
            while not told.exists():
                if self.ended():
                    raise RuntimeError(
                        f"The ranks of TensorRT-LLM ended with exit code {self.process.returncode} "
                        "before they were there; what they said is in the log"
                    )
                if time.monotonic() > deadline:
                    self.stop()
                    raise RuntimeError(
                        f"The ranks of TensorRT-LLM were not there within {START_SECONDS:.0f} s"
                    )
                time.sleep(0.05)
            os.environ.update(json.loads(told.read_text()))

    def ended(self) -> bool:
        """One that ends takes the others with it."""
        return self.process is not None and self.process.poll() is not None

    def stop(self) -> None:
        if self.process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
                return
