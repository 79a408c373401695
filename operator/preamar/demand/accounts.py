"""What did gateways last say of money? ``POST /accounts``, with the internal key.

All gateways read the same ledger, so the last word counts. It is heard in one thread and asked for
in another; entries are replaced, never changed.
"""

from preamar.protocol.accounts import Account, AccountReport, Drift

MOST = 20_000


class AccountAggregator:
    """Accounts by tenant, and drifts by service (``namespace/name``)."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}
        self._drifts: dict[str, Drift] = {}

    def take(self, report: AccountReport) -> tuple[frozenset[str], frozenset[str]]:
        """Note a report; the tenants and services of which something is new. Raises ``ValueError``."""
        tenants, drifts = report.tenants, report.services
        if (
            len(self._accounts.keys() | tenants.keys()) > MOST
            or len(self._drifts.keys() | drifts.keys()) > MOST
        ):
            raise ValueError(f"more than {MOST} accounts")
        changed = (
            frozenset(name for name, one in tenants.items() if self._accounts.get(name) != one),
            frozenset(name for name, one in drifts.items() if self._drifts.get(name) != one),
        )
        self._accounts.update(tenants)
        self._drifts.update(drifts)
        return changed

    def account(self, tenant: str) -> Account | None:
        """How a tenant stands."""
        return self._accounts.get(tenant)

    def drift(self, service: str) -> Drift | None:
        """Whether the ledger and the model servers of a service agree."""
        return self._drifts.get(service)

    def forget_tenant(self, tenant: str) -> None:
        """It was deleted."""
        self._accounts.pop(tenant, None)

    def forget_service(self, service: str) -> None:
        """It was deleted."""
        self._drifts.pop(service, None)
