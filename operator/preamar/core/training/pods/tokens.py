"""Who may stop an attempt? Whoever has the token that only the internal key can make.

The pod is told the token's SHA-256, which stops nobody; the operator derives the token anew when it
needs it, so that nothing has to be kept.
"""

import hmac
from hashlib import sha256


def stop_token(key: bytes, uid: str, attempt: int) -> str:
    """HMAC-SHA256 over the TrainingJob's UID and the attempt; 64 hexadecimal digits."""
    return hmac.new(key, f"preamar/stop/{uid}/{attempt}".encode(), sha256).hexdigest()


def stop_digest(key: bytes, uid: str, attempt: int) -> str:
    """What the pod is told; empty without a key: then nobody can stop it but by deleting it."""
    return sha256(stop_token(key, uid, attempt).encode()).hexdigest() if key else ""
