"""Is everything charged that was used? What the ledger has, against what the model servers counted.

A gateway compares them; this says it to people, who must find out why: callers who do not come
through a gateway, rows that were lost, or a model server that counts wrongly.
"""

from preamar.api.inference import InferenceService
from preamar.core.conditions import Verdict
from preamar.core.timestamps import utc
from preamar.protocol.accounts import Drift

TYPE = "MeteringDrift"
TOO_LITTLE, TOO_MUCH = "ChargedTooLittle", "ChargedTooMuch"
BAD = frozenset({TOO_LITTLE, TOO_MUCH})


def metering(service: InferenceService, drift: Drift | None) -> tuple[Verdict, ...]:
    """The condition; what it was before while nobody has said anything; none where nobody ever
    has."""
    if drift is None:
        was = service.status.condition(TYPE)
        return () if was is None else (Verdict(TYPE, was.status, was.reason, was.message),)
    if not drift.drifts:
        return (
            Verdict(
                TYPE,
                "False",
                "Agreed",
                "What was charged in the last 24 hours is what the model servers counted.",
            ),
        )
    less = drift.ratio < 0
    what = (
        "Somebody may call the model servers without a gateway, or rows were lost."
        if less
        else "The model servers have counted too little, or rows were written that never ran."
    )
    return (
        Verdict(
            TYPE,
            "True",
            TOO_LITTLE if less else TOO_MUCH,
            f"The ledger has {drift.ledger:,} {drift.unit} and the model servers counted "
            f"{drift.engine:,} from {utc(drift.since)} to {utc(drift.until)}: "
            f"{abs(drift.ratio):.1%} cannot be explained. {what}",
        ),
    )
