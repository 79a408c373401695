"""What may be believed of a model server's /metrics, and where is it? Operator and gateway read it both.

The operator reads how much work is there, the gateway what was counted; what they have in common is
here. The model server's image is the user's to choose: its answer has bounds before it is parsed.
"""

from collections.abc import Sequence

ANSWERED = "nv_inference_request_success"
"""Triton's count of requests that were answered, by model and version."""
LARGEST_ANSWER = 2**18
MOST_LINES, LONGEST_LINE = 1000, 4096


def url_of(ip: str, port: int) -> str:
    """Where a pod tells its metrics."""
    return f"http://{f'[{ip}]' if ':' in ip else ip}:{port}/metrics"


def lines_of(text: str, wanted: Sequence[str]) -> list[str]:
    """The lines of these metrics: the rest is many more, and the parser takes its time for each.
    Raises ``ValueError`` where they are more than any model server says."""
    lines = [line for line in text.splitlines() if line.startswith(tuple(wanted))]
    if len(lines) > MOST_LINES or any(len(line) > LONGEST_LINE for line in lines):
        raise ValueError("more than any model server says")
    return lines
