"""What runs a graph whose later stages are in other pods: the first stage here, the others over TCP.

One connection to each worker, for one call at a time: an instance of a model is one process with one
call. Tensors that a later stage needs pass through here.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from preamar_model.group import channel
from preamar_model.group.stages import StagePlan

CALL_SECONDS = 600.0


class SplitGraph:
    def __init__(self, folder: str, first: object) -> None:
        self.plan = StagePlan.load(Path(folder))
        self.first = first
        self.inputs = {
            name: SimpleNamespace(name=name, type=kind, shape=list(shape))
            for name, kind, shape in self.plan.inputs
        }
        self.outputs = list(self.plan.outputs)
        secret = os.environ["PREAMAR_GROUP_SECRET"]
        self.links = []
        for peer in os.environ["PREAMAR_GROUP_PEERS"].split(","):
            host, _, port = peer.rpartition(":")
            link = channel.connect(host, int(port), secret)
            channel.say(link, want="call", plan=self.plan.digest)
            told = channel.hear(link, CALL_SECONDS)
            if "error" in told:
                raise RuntimeError(f"{peer}: {told['error']}")
            self.links.append(link)

    def run(self, inputs: Mapping[str, object], outputs: Iterable[str]) -> dict[str, object]:
        wanted = list(outputs)
        values: dict[str, object] = dict(inputs)
        for number, stage in enumerate(self.plan.stages):
            given = {name: values[name] for name in stage.inputs}
            if number == 0:
                values |= self.first.run(given, stage.outputs)
                continue
            link = self.links[number - 1]
            channel.give(link, {name: self.array(value) for name, value in given.items()})
            values |= channel.take(link, CALL_SECONDS)
        return {name: values[name] for name in wanted}

    def plain(self, outputs: list[str], inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        given = self.run(inputs, outputs)
        return [self.array(given[name]) for name in outputs]

    def array(self, value: object) -> np.ndarray:
        return value if isinstance(value, np.ndarray) else self.first.array(value)
