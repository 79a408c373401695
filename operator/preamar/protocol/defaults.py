"""What does the gateway take where a resource leaves something out? What the API server would fill in.

The gateway reads resources without the models, so that one which is written for a newer version, or
wrong somewhere else, makes no model vanish; the defaults are those of the models all the same.
"""

from decimal import Decimal

from preamar.api.inference import Access, Batching, InferenceParallelism, Price, Runtime
from preamar.api.models import Model
from preamar.api.scaling import Hold, Target
from preamar.api.shared import Accelerator
from preamar.api.tenant import Budget, TenantSpec

TASK = str(Model.model_fields["task"].default)
BATCH = Batching().max_batch_size
INSTANCES = Runtime().instances
HOLD_REQUESTS, HOLD_SECONDS = Hold().max_requests, Hold().max_seconds
SIGNAL, TARGET = Target().signal.value, float(Decimal(Target().value))
ACCELERATORS, NODES = Accelerator().count, InferenceParallelism().nodes
ACCESS = Access().mode.value
CURRENCY, AMOUNT = Price().currency, Price().per_request
BUDGET_CURRENCY = str(Budget.model_fields["currency"].default)
BUDGET_PERIOD = str(Budget.model_fields["period"].default)
PRIORITY = int(TenantSpec.model_fields["priority"].default)
