"""Where is it noted what requests used? In the ledger's rows and in this gateway's metrics."""

from preamar.gateway.limits.reservations import Reservations
from preamar.gateway.metering.metrics import Meters
from preamar.ledger.store.backend import Backend


class UsageRecorder:
    """Where rows go, and what they may come to. ``instance`` names this gateway's life."""

    def __init__(
        self, home: Backend, meters: Meters, reservations: Reservations, instance: str
    ) -> None:
        self.home = home
        self.writer = home.writer
        self.meters = meters
        self.reservations = reservations
        self.instance = instance
