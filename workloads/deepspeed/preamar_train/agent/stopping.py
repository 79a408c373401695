"""May this caller stop the job? `POST /stop` on rank 0's pod, at the operator's order.

The pod knows only the SHA-256 of the one token that is good for it, so nothing that can be read
there, or in the API server, stops anybody. A stop that came twice is one stop. Unlike the
kubelet's SIGTERM it has no kill behind it: the operator has a deadline of its own.
"""

import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

LARGEST_ORDER = 4096
LONGEST_REASON = 200


class Stopping:
    """What a request to stop is answered: 202 accepted, 400 unreadable, 401 not allowed."""

    def __init__(self, digest: str, ask: Callable[[], None]) -> None:
        self._digest = digest.strip().lower()
        self._ask = ask
        self._asked = False

    def answer(self, authorization: str, body: bytes) -> int:
        if not self._may(authorization):
            return 401
        reason = _reason(body)
        if reason is None:
            return 400
        if not self._asked:
            self._asked = True
            print(f"a stop was ordered: {reason or 'no reason given'}", flush=True)
        self._ask()
        return 202

    def _may(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        if not self._digest or scheme.lower() != "bearer":
            return False
        given = hashlib.sha256(token.strip().encode()).hexdigest()
        return hmac.compare_digest(given, self._digest)


def _reason(body: bytes) -> str | None:
    try:
        words: Any = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        return None
    reason = words.get("reason", "") if isinstance(words, dict) else None
    return reason[:LONGEST_REASON] if isinstance(reason, str) else None
