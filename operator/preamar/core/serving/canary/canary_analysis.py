"""Is a new revision as good as the one before, by what callers got from both?

Each answer is counted once by its gateway: whether the replica failed on it, and how long it took, in
buckets. The new one is worse when failures are too many to be chance beside the old one's rate (binomial
tail below one in a thousand), when its answers to the same questions are further from the old one's than
is allowed, or when its slowest tenth is half as slow again, where enough were timed.
It is better or equal only after enough requests at the present share; until then nothing is said.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import exp, lgamma, log, log1p

from preamar.protocol.canary import LEAST_COMPARED, AnswerDifferences, RevisionCounts, Trial
from preamar.protocol.histogram import BOUNDS

LEAST_REQUESTS = 20
"""Of the new revision, at each share."""
LEAST_FAILURES = 3
LEAST_TIMED = 50
"""Answers of each revision before its speed is judged."""
CHANCE = 0.001
FLOOR = 0.01
"""A rate of failures that is forgiven where the old one has had none."""
SLOWER, SLOWER_SECONDS = 1.5, 0.005
QUANTILE = 0.9
MOST = 2000


class Judgement(StrEnum):
    UNDECIDED = "TooFewRequests"
    UNCOMPARED = "TooFewCompared"
    GOOD = "AsGood"
    FAILS = "FailsMoreOften"
    SLOW = "Slower"
    DIFFERS = "AnswersDiffer"


@dataclass(frozen=True, slots=True)
class Judged:
    """``sentence`` gives the figures."""

    judgement: Judgement
    sentence: str

    @property
    def worse(self) -> bool:
        """Whether to go back."""
        return self.judgement in {Judgement.FAILS, Judgement.SLOW, Judgement.DIFFERS}


def judge(
    trial: Trial, since: int, tolerance: float | None = None, *, waits: bool = False
) -> Judged:
    """``since``: requests of the new revision when its present share began. ``tolerance``: how far
    its answers may be from the old one's, None where they are not compared; ``waits``: whether there
    is still time for comparisons. More failures never make a judgement better, more requests without
    failures never make one worse (tests/core/serving/canary/test_canary_analysis.py)."""
    old, new = trial.old, trial.new
    if new.failures >= LEAST_FAILURES and tail(new.failures, new.requests, _rate(old)) < CHANCE:
        return Judged(
            Judgement.FAILS,
            f"It failed on {new.failures} of {new.requests} requests, the one before on "
            f"{old.failures} of {old.requests}.",
        )
    if tolerance is not None and trial.apart.too_far:
        return Judged(Judgement.DIFFERS, _differs(trial.apart, tolerance))
    if new.requests - since < LEAST_REQUESTS:
        return Judged(
            Judgement.UNDECIDED,
            f"It has had {max(0, new.requests - since)} of {LEAST_REQUESTS} requests.",
        )
    before, now = quantile(old.took), quantile(new.took)
    if before is not None and now is not None and now > SLOWER * before + SLOWER_SECONDS:
        return Judged(
            Judgement.SLOW,
            f"A tenth of its answers took more than {now:.3g} s, of the one before {before:.3g} s.",
        )
    if tolerance is not None and waits and trial.apart.compared < LEAST_COMPARED:
        return Judged(
            Judgement.UNCOMPARED,
            f"{trial.apart.compared} of {LEAST_COMPARED} answers have been compared.",
        )
    return Judged(
        Judgement.GOOD,
        f"It failed on {new.failures} of {new.requests} requests, the one before on "
        f"{old.failures} of {old.requests}.{_agrees(trial.apart, tolerance)}",
    )


def _differs(apart: AnswerDifferences, tolerance: float) -> str:
    return (
        f"Its answers differ from those of the one before by {apart.mean * tolerance:.2g} in the mean "
        f"of {apart.compared}, where {tolerance:.2g} is allowed: change what is optimised, calibrate "
        "with samples like the requests, or raise spec.optimize.tolerance."
    )


def _agrees(apart: AnswerDifferences, tolerance: float | None) -> str:
    if tolerance is None:
        return ""
    if not apart.compared:
        return " No answers could be compared."
    return (
        f" Their answers differ by {apart.mean * tolerance:.2g} in the mean of {apart.compared}, "
        f"where {tolerance:.2g} is allowed."
    )


def tail(failures: int, requests: int, rate: float) -> float:
    """The chance of so many failures or more, where each request fails at ``rate``."""
    if failures <= 0 or requests <= 0:
        return 1.0
    if requests > MOST:  # as good, and bounded
        requests, failures = MOST, max(1, failures * MOST // requests)
    # By logarithms: the coefficients alone leave the range of a float.
    first, yes, no = lgamma(requests + 1), log(rate), log1p(-rate)
    below = sum(
        exp(first - lgamma(n + 1) - lgamma(requests - n + 1) + n * yes + (requests - n) * no)
        for n in range(min(failures, requests + 1))
    )
    return max(0.0, 1.0 - below)


def quantile(took: tuple[int, ...]) -> float | None:
    """Seconds that a tenth of the answers exceeds, as far as buckets tell; None for too few."""
    total = sum(took)
    if total < LEAST_TIMED:
        return None
    want, passed = QUANTILE * total, 0
    for n, count in enumerate(took):
        if count and passed + count >= want:
            lower = BOUNDS[n - 1] if 0 < n <= len(BOUNDS) else 0.0
            upper = BOUNDS[n] if n < len(BOUNDS) else 2 * BOUNDS[-1]
            return float(lower + (upper - lower) * (want - passed) / count)
        passed += count
    return None


def _rate(old: RevisionCounts) -> float:
    """The old revision's rate of failures, with a doubt that shrinks with its requests."""
    return min(0.99, max(FLOOR, (old.failures + 1) / (old.requests + 2) if old.requests else FLOOR))
