"""Which models are there? A queue for each name that callers use, kept while its owner has it."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from preamar.gateway.discovery.resources import Address, Model
from preamar.gateway.routing.queue import Line


class Fleet:
    """All lines, by the name that callers use."""

    def __init__(self, on_queue: Callable[[Line], None]) -> None:
        self.lines: dict[str, Line] = {}
        self._on_queue = on_queue

    def update(
        self,
        models: Mapping[str, Model],
        replicas: Mapping[str, Mapping[Address, bool]],
        starting: Mapping[str, Iterable[Address]] = MappingProxyType({}),
    ) -> None:
        """Follow what was heard. A name that another service took over starts anew."""
        for name in list(self.lines):
            model = models.get(name)
            if model is None or model.uid != self.lines[name].model.uid:
                self.lines.pop(name).close()
        for name, model in models.items():
            line = self.lines.get(name)
            if line is None:
                line = self.lines[name] = Line(model, self._on_queue)
            line.model = model
            line.follow_trial()
            line.update(replicas.get(model.service, {}), starting.get(model.service, ()))
