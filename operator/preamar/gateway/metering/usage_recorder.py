"""Where is it noted what requests used? In the ledger's rows and in this gateway's metrics."""

from preamar.gateway.limits.reservations import Treasury
from preamar.gateway.metering.metrics import Meters
from preamar.ledger.store.backend import Home


class UsageRecorder:
    """Where rows go, and what they may come to. ``instance`` names this gateway's life."""

    def __init__(self, home: Home, meters: Meters, treasury: Treasury, instance: str) -> None:
        self.home = home
        self.writer = home.writer
        self.meters = meters
        self.treasury = treasury
        self.instance = instance
