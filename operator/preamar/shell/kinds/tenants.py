"""How is a tenant watched, gathered and decided? It has no children and no namespace: what gateways
say of its money becomes its status.
"""

from datetime import UTC, datetime

import kopf

from preamar.api import GROUP, VERSION
from preamar.api.tenant import Tenant
from preamar.core.plan import Manifest, Plan
from preamar.core.tenants import Observed, reconcile
from preamar.demand.accounts import AccountAggregator
from preamar.shell.passes import Gathered, KindHandler
from preamar.shell.watching.keys import TENANT_KIND, Key
from preamar.shell.watching.mirror import Add, Mirror, Watched

API_VERSION = f"{GROUP}/{VERSION}"
TENANTS = Watched(API_VERSION, TENANT_KIND, "tenants", cluster=True)


def register(
    registry: kopf.OperatorRegistry, mirror: Mirror, add: Add, accounts: AccountAggregator
) -> KindHandler:
    """Let the watch fill the queue; the returned kind says how to work on what is in it."""

    def changed(key: Key, _body: Manifest, _there: bool) -> None:
        add(key)

    mirror.watch_resources(registry, TENANTS, changed)

    async def plan(found: Gathered) -> Plan:
        tenant = Tenant.model_validate(found.body)
        return reconcile(Observed(tenant, datetime.now(UTC), accounts.account(found.key.name)))

    def done(key: Key, body: Manifest, plan: Plan) -> None:
        """Nothing is kept of a tenant between passes."""

    gone = lambda key: accounts.forget_tenant(key.name)  # noqa: E731
    return KindHandler(API_VERSION, plan, done, gone, read=False)
