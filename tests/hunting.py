"""How many examples does a property get: a few in every `make check`, many in a hunt?

``PREAMAR_HYPOTHESIS=hunt`` hunts.
"""

import os
from typing import Any

from hypothesis import settings


def examples(check: int, hunt: int, **more: Any) -> settings:
    """Settings of a property that gets ``check`` examples, or ``hunt`` of them in a hunt."""
    hunts = os.environ.get("PREAMAR_HYPOTHESIS", "check") == "hunt"
    return settings(max_examples=hunt if hunts else check, deadline=None, **more)
