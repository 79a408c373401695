"""What do we remember of our own writes? Only what saves work: losing it costs no-op applies.

It also says how old a view is: one that does not show our own last write is not decided upon.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from preamar.cluster.execute import PlanResult
from preamar.core.plan import Applied, Ref, RefusedManifest
from preamar.shell.watching.mirror import MirroredObject

# A watch that has not shown our own write by then is not waited for any longer; what is decided
# on is then read from the API server instead.
PATIENCE_SECONDS = 5.0
# How long it is believed that nothing stands under a name that the watch has not shown.
ABSENT_SECONDS = 60.0
# A refusal may be about a quota or a policy, which change: after this it is tried once more.
REFUSED_SECONDS = 300.0


@dataclass(slots=True)
class ApplyCache:
    """Of one resource."""

    uid: str
    applied: dict[Ref, Applied] = field(default_factory=dict)
    refused: dict[Ref, tuple[RefusedManifest, float]] = field(default_factory=dict)
    absent: dict[Ref, float] = field(default_factory=dict)
    version: int = 0
    wrote: dict[Ref | None, float] = field(default_factory=dict)

    def note(self, outcome: PlanResult) -> None:
        """Remember what came of a plan."""
        now = time.monotonic()
        if outcome.version is not None and outcome.version.isdecimal():
            self.version = max(self.version, int(outcome.version))
            self.wrote[None] = now
        self.wrote.update(dict.fromkeys(outcome.applied, now))
        self.applied.update(outcome.applied)
        self.refused.update({ref: (refusal, now) for ref, refusal in outcome.refused.items()})
        for ref in outcome.applied:
            self.refused.pop(ref, None)
            self.absent.pop(ref, None)
        for ref in outcome.deleted:
            self.forget(ref)

    def forget(self, ref: Ref) -> None:
        """What we applied there is gone."""
        self.applied.pop(ref, None)
        self.wrote.pop(ref, None)

    def refusals(self) -> dict[Ref, RefusedManifest]:
        """What was refused lately."""
        now = time.monotonic()
        self.refused = {
            ref: (refusal, at)
            for ref, (refusal, at) in self.refused.items()
            if now - at < REFUSED_SECONDS
        }
        return {ref: refusal for ref, (refusal, _) in self.refused.items()}

    def patient(self, late: frozenset[Ref | None]) -> bool:
        """Whether the watches may still be on their way to showing one of these writes."""
        now = time.monotonic()
        return any(now - self.wrote.get(ref, 0.0) < PATIENCE_SECONDS for ref in late)

    def behind(self, version: int, children: Mapping[Ref, MirroredObject]) -> frozenset[Ref | None]:
        """Which views do not show our last write yet; None stands for the resource itself."""
        late: set[Ref | None] = {None} if version < self.version else set()
        for ref, applied in self.applied.items():
            version_text = applied.version or ""
            written = int(version_text) if version_text.isdecimal() else 0
            seen = children.get(ref)
            if seen is None or seen.version < written:
                late.add(ref)
        return frozenset(late)

    def believed_absent(self, ref: Ref) -> bool:
        """Whether we looked a short while ago, and nothing stood there."""
        return time.monotonic() - self.absent.get(ref, -ABSENT_SECONDS) < ABSENT_SECONDS
