"""What did rank 0 of each running job last say of itself, as series?

Taken from the poller when somebody looks. What is unknown has no series: a zero would be taken
for a job that never waits.
"""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from preamar.shell.progress import Poller


class TrainingFigures(Collector):
    """Gauges by job, of the jobs that run."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller

    def collect(self) -> Iterator[Metric]:
        """The families of series."""
        waits = GaugeMetricFamily(
            "preamar_training_data_wait_ratio",
            "Share of the time of steps that a running job waits for data, from 0 to 1.",
            labels=["job"],
        )
        for key, told in self._poller.latest().items():
            if told.data_wait_ratio is not None:
                waits.add_metric([f"{key.namespace}/{key.name}"], told.data_wait_ratio)
        yield waits
