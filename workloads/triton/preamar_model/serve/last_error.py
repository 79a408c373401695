"""Why did Triton end, in one sentence? The first failed model in its log, without the traceback;
else its last error. And how far it is: serving, or done with its models.
"""

import re

FAILED = re.compile(
    r"failed to load '([^']+)' version \d+: (.+)|Poll failed for model directory '([^']+)': (.+)"
)
SERVING = "Started HTTPService"
MODEL = re.compile(r"successfully (un)?loaded '([^']+)'")
DEAD = re.compile(r"ended: (.+ is dead, .+)")
"""What our own model says before it ends itself (`backends/llm.py`)."""
NOISE = ("CudaDriverHelper",)
"""What Triton calls an error on every machine without a GPU."""
LEVEL = re.compile(r"(?:^|\s)(?:E\d{4}|E)\s")
SIGNALS = {
    -6: "aborted",
    -7: "hit a bus error (is /dev/shm too small?)",
    -9: "was killed, most likely for memory",
    -11: "crashed",
}


class LastError:
    def __init__(self) -> None:
        self.failed: str | None = None
        self.dead: str | None = None
        self.last: str | None = None
        self.serving = False
        self.loaded: set[str] = set()
        self.unloaded = False

    def hear(self, line: str) -> None:
        if found := FAILED.search(line):
            # The first is the cause; later ones are its consequences.
            name, why = found[1] or found[3], found[2] or found[4]
            self.failed = self.failed or f"The model {name} does not load: {_plain(why)}"
        elif found := MODEL.search(line):
            (self.loaded.discard if found[1] else self.loaded.add)(found[2])
            self.unloaded = not self.loaded
        elif found := DEAD.search(line):
            self.dead = f"{found[1].strip()}."
        elif SERVING in line:
            self.serving = True
        elif not any(noise in line for noise in NOISE) and LEVEL.search(line[:60]):
            self.last = _plain(line.partition("]")[2] or line)

    def sentence(self, code: int) -> str:
        if self.failed:
            return self.failed
        if code in SIGNALS:
            return f"Triton {SIGNALS[code]}."
        return f"Triton ended with code {code}: {self.last or 'no error in its log'}"


def _plain(text: str) -> str:
    words = text.replace("\\n", " ").strip().strip('"')
    words = re.split(r"\s+At:\s", words)[0]
    return re.sub(r"^(Internal|Invalid argument|Unavailable|Unsupported): ", "", words).strip()
