"""Why is this model not served, in words for its owner?

A `Refusal` is the user's to mend: exit code 64 and a JSON termination message. Everything else is
a fault of the world: another exit code, retried by the kubelet.
"""

import json
import os
from enum import StrEnum
from pathlib import Path

EXIT_REFUSED = 64
LIMIT = 3500
"""Bytes of a sentence; the kubelet cuts termination messages at 4096."""


class RefusalReason(StrEnum):
    MODEL_NOT_FOUND = "ModelNotFound"
    FORMAT_UNSUPPORTED = "FormatUnsupported"
    MODEL_INVALID = "ModelInvalid"
    DIGEST_MISMATCH = "DigestMismatch"
    CODE_NOT_TRUSTED = "CodeNotTrusted"
    SOURCE_DENIED = "SourceDenied"
    OPTIMIZATION_UNSUPPORTED = "OptimizationUnsupported"
    OPTIMIZATION_TOO_INACCURATE = "OptimizationTooInaccurate"
    ARTEFACT_MISSING = "ArtefactMissing"
    CALIBRATION_INVALID = "CalibrationInvalid"


def missing() -> "Refusal":
    """Of what `preamar-model optimize` had made, and is not where it was."""
    return Refusal(
        RefusalReason.ARTEFACT_MISSING,
        "The optimised model is not on its volume any more; it is made anew.",
    )


class Refusal(Exception):
    """The user's model or wish cannot be served; `message` is one sentence that says why."""

    def __init__(self, reason: RefusalReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

    def as_json(self) -> str:
        return json.dumps({"reason": str(self.reason), "message": sentence(self.message)})


def invalid(message: str) -> Refusal:
    return Refusal(RefusalReason.MODEL_INVALID, message)


def unsupported(message: str) -> Refusal:
    return Refusal(RefusalReason.FORMAT_UNSUPPORTED, message)


def sentence(text: str) -> str:
    """One line that fits a termination message."""
    line = " ".join(text.split())
    encoded = line.encode(errors="replace")
    return line if len(encoded) <= LIMIT else encoded[: LIMIT - 4].decode(errors="ignore") + " …"


def last_words(text: str) -> None:
    """Write the termination message. Outside a pod there is no such file, and nobody to read it."""
    path = Path(os.environ.get("PREAMAR_TERMINATION_LOG", "/dev/termination-log"))
    try:
        path.write_text(text)
    except OSError:
        return
