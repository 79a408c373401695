"""What does a training job need next?

A function of its arguments: no clock, no cluster, no agent. The shell gathers an ``Observed``,
calls ``reconcile``, and carries the ``Plan`` out. A plan carried out in full leaves nothing to
plan; tests/life holds us to that.
"""

from preamar.core.plan import Plan
from preamar.core.training.observe import Observed


def reconcile(observed: Observed) -> Plan:
    """The next steps for one job."""
    raise NotImplementedError
