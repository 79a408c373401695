"""Which share of the time trains, if a fault comes every three hours?

Young's model with what was measured and what is promised: saves every sqrt(2 x save x 3 h); a fault
costs half an interval, the time until it is noticed, and the time until the next step.
"""

from math import sqrt

BETWEEN_FAULTS = 3 * 3600.0
DETECTED, RESTARTED = 30.0, 60.0  # at most, as promised


def effective(
    save: float, detected: float = DETECTED, restarted: float = RESTARTED
) -> dict[str, float]:
    """The ratio for a save of so many seconds, with all that went into it."""
    interval = max(20 * save, sqrt(2 * save * BETWEEN_FAULTS))
    saving = save / (interval + save)
    lost = (interval / 2 + detected + restarted) / BETWEEN_FAULTS
    return {
        "saveSeconds": save,
        "intervalSeconds": round(interval, 1),
        "detectedSeconds": detected,
        "restartedSeconds": restarted,
        "ratio": round((1 - saving) * (1 - lost), 4),
    }
