"""What does an engine answer? The same question as to a graph, and the same answer's form, so that
one judge and one clock serve both.
"""

import ctypes
from collections.abc import Iterable
from typing import Any

import numpy as np

from preamar_model.engine.device import Driver
from preamar_model.passes.session import Feed


class EngineSession:
    def __init__(self, trt: Any, engine: Any, driver: Driver) -> None:
        self.trt, self.engine, self.driver = trt, engine, driver
        self.runtime: Any = None
        self.context = engine.create_execution_context()
        if self.context is None:
            raise MemoryError("the GPU has too little memory to run the engine")
        every = [engine.get_tensor_name(at) for at in range(engine.num_io_tensors)]
        given = trt.TensorIOMode.INPUT
        self.inputs = [name for name in every if engine.get_tensor_mode(name) == given]
        self.names = [name for name in every if engine.get_tensor_mode(name) != given]

    def __call__(self, feed: Feed, outputs: Iterable[str] | None = None) -> dict[str, np.ndarray]:
        """All outputs are computed; those named are returned. Raises ValueError for a shape that
        the engine was not built for."""
        taken: list[int] = []
        try:
            for name in self.inputs:
                value = np.ascontiguousarray(feed[name], self._kind(name))
                if not self.context.set_input_shape(name, value.shape):
                    raise ValueError(f"the engine was not built for {name} {list(value.shape)}")
                address = self._bind(name, value.nbytes, taken)
                self.driver.put(address, _at(value), value.nbytes)
            answers, places = {}, {}
            for name in self.names:
                answers[name] = np.empty(
                    tuple(self.context.get_tensor_shape(name)), self._kind(name)
                )
                places[name] = self._bind(name, answers[name].nbytes, taken)
            if not self.context.execute_async_v3(0):
                raise RuntimeError("the engine could not be run")
            self.driver.finish()
            wanted = list(outputs or self.names)
            for name in wanted:
                self.driver.get(_at(answers[name]), places[name], answers[name].nbytes)
        finally:
            for address in taken:
                self.driver.give_back(address)
        return {name: answers[name] for name in wanted}

    def _kind(self, name: str) -> Any:
        return self.trt.nptype(self.engine.get_tensor_dtype(name))

    def _bind(self, name: str, size: int, taken: list[int]) -> int:
        address = self.driver.take(size)
        taken.append(address)
        self.context.set_tensor_address(name, address)
        return address


def _at(value: np.ndarray) -> ctypes.c_void_p:
    return value.ctypes.data_as(ctypes.c_void_p)
