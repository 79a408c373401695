"""A model that waits instead of computing: each request as long as it asks, all of them at once.

How many it has at once is the gateway's doing, which gives a replica no more than its slots; so a
replica is as fast as a trace's service times say, whatever else wants the processor.
"""

from e2e.coded import model_of, seed_code
from e2e.journeys.wishes import a_service, merged
from e2e.kube import Json, Kube

MODEL = """
import json, threading, time
import numpy as np
import triton_python_backend_utils as utils


def text(value):
    return np.array([value.encode()], dtype=object)


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            threading.Thread(target=self.wait, args=(request,)).start()

    def wait(self, request):
        given = utils.get_input_tensor_by_name(request, "REQUEST").as_numpy().flat[0]
        sender = request.get_response_sender()
        time.sleep(float(json.loads(given)["prompt"]))
        sender.send(utils.InferenceResponse([
            utils.Tensor("TEXT", text("done")),
            utils.Tensor("INPUT_TOKENS", np.array([1], np.int32)),
            utils.Tensor("OUTPUT_TOKENS", np.array([1], np.int32)),
            utils.Tensor("FINISH_REASON", text("stop")),
        ]), flags=utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""


def seed_waiter(kube: Kube, namespace: str) -> None:
    """Write the model onto claim ``models``."""
    seed_code(kube, namespace, "waiter", MODEL)


def a_waiter(name: str, slots: int, wait: float, most: int, **changes: object) -> Json:
    """A service that sleeps when idle, has ``slots`` requests at once in a replica, and aims at
    ``wait`` seconds before a replica takes a request."""
    spec: Json = {
        "model": model_of("waiter"),
        "runtime": {"batching": {"maxBatchSize": slots}},
        "scaling": {
            "max": most,
            "target": {"signal": "QueueSeconds", "value": f"{wait:.3f}"},
            "idleSeconds": 60,
        },
        "hold": {"maxRequests": 100_000, "maxSeconds": 600},
        "drain": {"seconds": 15},
    }
    return a_service(name, **merged(spec, changes))
