"""What did rank 0 of each running job last say of itself, as series?

Taken from the poller when somebody looks. What is unknown has no series: a zero would be taken
for a job that never waits.
"""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from preamar.core.training.progress import ProgressReport
from preamar.shell.polling.progress import Poller

FIGURES: Mapping[str, tuple[str, Callable[[ProgressReport], float | None]]] = {
    "preamar_training_step": ("Steps that a running job has done.", lambda told: told.step),
    "preamar_training_loss": (
        "Loss of a running job's last step, in nats per token.",
        lambda told: told.loss,
    ),
    "preamar_training_samples_per_second": (
        "Samples that a running job trains on each second.",
        lambda told: told.samples_per_second,
    ),
    "preamar_training_data_wait_ratio": (
        "Share of the time of steps that a running job waits for data, from 0 to 1.",
        lambda told: told.data_wait_ratio,
    ),
}


class TrainingFigures(Collector):
    """Gauges by job, of the jobs that run."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller

    def collect(self) -> Iterator[Metric]:
        """The families of series."""
        latest = self._poller.latest()
        for name, (words, figure) in FIGURES.items():
            family = GaugeMetricFamily(name, words, labels=["job"])
            for key, told in latest.items():
                value = figure(told)
                if value is not None:
                    family.add_metric([f"{key.namespace}/{key.name}"], value)
            yield family
