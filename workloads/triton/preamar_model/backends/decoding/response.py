"""What has been said of a text so far, and how is it told? In the four tensors that the gateway reads."""

from dataclasses import dataclass

import numpy as np
import triton_python_backend_utils as utils


@dataclass(slots=True)
class GeneratedText:
    text: str = ""
    """What is new."""
    input_tokens: int = 0
    output_tokens: int = 0
    finish: str = ""
    """Empty until the end: `stop` or `length`."""


def response(said: GeneratedText) -> object:
    def tensor(name: str, value: object, kind: object) -> object:
        return utils.Tensor(name, np.array([value], dtype=kind))

    return utils.InferenceResponse([
        tensor("TEXT", said.text.encode(), np.object_),
        tensor("INPUT_TOKENS", said.input_tokens, np.int32),
        tensor("OUTPUT_TOKENS", said.output_tokens, np.int32),
        tensor("FINISH_REASON", said.finish.encode(), np.object_),
    ])  # fmt: skip


def end(sender: object, last: object | None = None) -> None:
    final = utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
    try:
        sender.send(flags=final) if last is None else sender.send(last, flags=final)
    except Exception as error:  # noqa: BLE001 - a caller who is gone must not end the others
        utils.Logger.log_warn(f"a stream could not be closed: {error}")
