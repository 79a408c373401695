"""Where a model, a data set or a checkpoint is: ``scheme://place/path``.

``pvc://claim/path`` names a claim of the resource's own namespace. A path never leaves the place:
no ``..``, no empty step. The schema says the same by a pattern and a rule.
"""

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, StrictStr

from preamar.api.rules import Obeys, Rule

SCHEMES = ("pvc", "image", "oci", "s3", "gs", "az", "hf", "https")
WRITABLE = ("pvc", "s3", "gs", "az")

_TEXT = r"[A-Za-z0-9][A-Za-z0-9._~:/@!$&'()*+,;=%?#-]*"
_CLAIM = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_PATH = r"[A-Za-z0-9._~@+=,/-]*"


def _pattern(schemes: tuple[str, ...]) -> str:
    others = "|".join(s for s in schemes if s != "pvc")
    return rf"^(pvc://{_CLAIM}(/{_PATH})?|({others})://{_TEXT})$"


_STEPS = Rule(
    r"!self.matches('(^|/)[.][.]?(/|$)') && !self.matches('[^:/]//')",
    lambda v: not re.search(r"(^|/)[.][.]?(/|$)", v) and not re.search(r"[^:/]//", v),
    "must be a path of plain steps: no '.', '..' or empty step",
)

Source = Annotated[
    StrictStr, Field(min_length=1, max_length=1024, pattern=_pattern(SCHEMES)), Obeys(_STEPS)
]
"""A URI to read from."""

Target = Annotated[
    StrictStr, Field(min_length=1, max_length=1024, pattern=_pattern(WRITABLE)), Obeys(_STEPS)
]
"""A URI to write to."""


@dataclass(frozen=True, slots=True)
class ModelUri:
    """A URI in parts. ``claim`` is set for ``pvc`` only; ``path`` never starts with a slash."""

    scheme: str
    place: str
    path: str

    @property
    def claim(self) -> str | None:
        """The PersistentVolumeClaim, when that is where it points."""
        return self.place if self.scheme == "pvc" else None

    @classmethod
    def parse(cls, uri: str) -> "ModelUri":
        """The parts of a URI; ValueError with a sentence if it is none that Preamar reads."""
        scheme, found, rest = uri.partition("://")
        if not found or scheme not in SCHEMES:
            raise ValueError(f"{uri!r} must start with one of {', '.join(SCHEMES)} and ://")
        if len(uri) > 1024:
            raise ValueError("a URI must not be longer than 1024 characters")
        if not re.fullmatch(_pattern(SCHEMES)[1:-1], uri):
            expected = "pvc://claim/path" if scheme == "pvc" else f"{scheme}://place/path"
            raise ValueError(f"{uri!r} must have the form {expected}")
        if not _STEPS.holds(uri):
            raise ValueError(f"{uri!r} {_STEPS.message}")
        place, _, path = rest.partition("/")
        return cls(scheme, place, path.strip("/"))

    def __str__(self) -> str:
        """The URI again."""
        return f"{self.scheme}://{self.place}" + (f"/{self.path}" if self.path else "")
