"""Which pods serve the present revision, and has it loaded once?"""

from preamar.core.pods import PodView
from preamar.core.serving.health.faults import is_ready
from preamar.core.serving.observe import REVISION, Observed
from preamar.core.serving.pods.desired import revision_of


def loaded_once(observed: Observed) -> bool:
    """Whether a replica of the present revision is ready or has been."""
    revision = revision_of(observed.service)
    return observed.service.status.revision == revision or bool(ready_pods(observed))


def current_pods(observed: Observed) -> tuple[PodView, ...]:
    """The pods of the present revision."""
    revision = revision_of(observed.service)
    return tuple(p for p in observed.pods if p.labels.get(REVISION) == revision)


def ready_pods(observed: Observed) -> tuple[PodView, ...]:
    """Those of them that answer."""
    return tuple(p for p in current_pods(observed) if is_ready(p, observed.now))
