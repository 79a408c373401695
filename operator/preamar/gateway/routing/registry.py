"""Which models are there? A queue for each name that callers use, kept while its owner has it."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from preamar.gateway.discovery.resources import Address, ModelResource
from preamar.gateway.routing.queue import ModelQueue


class ModelRegistry:
    """All queues, by the name that callers use."""

    def __init__(self, on_queue: Callable[[ModelQueue], None]) -> None:
        self.queues: dict[str, ModelQueue] = {}
        self._on_queue = on_queue

    def update(
        self,
        models: Mapping[str, ModelResource],
        replicas: Mapping[str, Mapping[Address, bool]],
        starting: Mapping[str, Iterable[Address]] = MappingProxyType({}),
    ) -> None:
        """Follow what was heard. A name that another service took over starts anew."""
        for name in list(self.queues):
            model = models.get(name)
            if model is None or model.uid != self.queues[name].model.uid:
                self.queues.pop(name).close()
        for name, model in models.items():
            queue = self.queues.get(name)
            if queue is None:
                queue = self.queues[name] = ModelQueue(model, self._on_queue)
            queue.model = model
            queue.follow_trial()
            queue.update(replicas.get(model.service, {}), starting.get(model.service, ()))
