"""Why did Triton end, in one sentence? The first failed model in its log, without the traceback;
else its last error.
"""

import re

FAILED = re.compile(r"""failed to load '([^']+)' version \d+: (.+)""")
ERROR = re.compile(r"^(?:\S+Z?\s+)+?E\s+\S+\s\S*?\]\s*|^E\d{4}\s.*?\]\s*")
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
        self.last: str | None = None

    def hear(self, line: str) -> None:
        if found := FAILED.search(line):
            # The first is the cause; later ones are its consequences.
            self.failed = self.failed or f"The model {found[1]} does not load: {_plain(found[2])}"
        elif LEVEL.search(line[:60]):
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
