"""The last words of a pod: the JSON that the kubelet copies into its status.

At most 4 KiB, so the explanation is cut, never the JSON.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LIMIT = 4096


def compose(
    outcome: str,
    rank: int,
    told: Mapping[str, Any],
    *,
    kind: str | None = None,
    explanation: str | None = None,
    waits: bool = False,
) -> dict[str, Any]:
    return {
        "outcome": outcome,
        "rank": rank,
        "step": told.get("step", 0),
        "consumed": told.get("consumed", 0),
        "skipped": told.get("skipped", 0),
        "duplicated": told.get("duplicated", 0),
        "resumed": told.get("resumed"),
        "checkpoint": told.get("checkpoint"),
        "evaluation": told.get("evaluation"),
        "exported": told.get("exported"),
        "class": kind,
        "explanation": explanation,
        "failedStep": told.get("failedStep") if outcome == "Failed" else None,
        "waits": waits,
        "seconds": told.get("seconds"),
        "saveSeconds": told.get("saveSeconds"),
        "resumedFrom": told.get("resumedFrom"),
    }


def encode(words: Mapping[str, Any]) -> bytes:
    text = words.get("explanation")
    while True:
        data = json.dumps({**words, "explanation": text}, separators=(",", ":")).encode()
        if len(data) <= LIMIT or not text:
            return data
        # One character takes up to 12 bytes once escaped: cut no more than must go.
        text = text[: len(text) - max(1, (len(data) - LIMIT) // 12)]


def write(file: Path, words: Mapping[str, Any]) -> None:
    try:
        # In place: the kubelet mounts this one file, so it cannot be replaced.
        file.write_bytes(encode(words))
    except OSError as error:
        print(f"the termination message could not be written to {file}: {error}", flush=True)
