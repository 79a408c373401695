"""A model that answers with the moment at which its request came: seconds of the wall clock, which all
pods of a node share with the API server's audit log.
"""

import re

from e2e.coded import model_of, seed_code
from e2e.kube import Json, Kube

SPEC: Json = {"model": model_of("stamper")}
MODEL = """
import time
import numpy as np
import triton_python_backend_utils as utils


def text(value):
    return np.array([value.encode()], dtype=object)


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            sender.send(utils.InferenceResponse([
                utils.Tensor("TEXT", text(f"{time.time():.6f}")),
                utils.Tensor("INPUT_TOKENS", np.array([1], np.int32)),
                utils.Tensor("OUTPUT_TOKENS", np.array([1], np.int32)),
                utils.Tensor("FINISH_REASON", text("length")),
            ]), flags=utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
STAMP = re.compile(rb'"(\d{9,}\.\d{6})"')


class NoStampError(Exception):
    """The answer has none: it is an error's."""


def seed_stamper(kube: Kube, namespace: str) -> None:
    """Write the model onto claim ``models``."""
    seed_code(kube, namespace, "stamper", MODEL)


def stamp_in(answer: bytes) -> float:
    """When the request came to the model. Raises ``NoStampError``."""
    found = STAMP.search(answer)
    if found is None:
        raise NoStampError(f"no stamp in the answer: {answer[:300]!r}")
    return float(found[1])
