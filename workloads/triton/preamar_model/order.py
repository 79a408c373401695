"""What was ordered? The operator's words about one model, from the variable PREAMAR_MODEL."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from preamar_model.refusal import invalid

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class OrderUnreadable(Exception):
    """PREAMAR_MODEL is missing or malformed: a fault of whoever wrote the pod, not of the model."""


@dataclass(frozen=True, slots=True)
class BuildSpec:
    name: str
    source: str
    format: str = "Auto"
    task: str = "Infer"
    trust: str = "Data"
    digest: str | None = None
    accelerator: str = "CPU"
    max_batch_size: int = 8
    max_delay_microseconds: int = 0
    instances: int = 1
    tensor: int = 1
    pipeline: int = 1
    expert: int = 1
    """Accelerators over which the experts of a layer are spread; they are some of `tensor`."""
    uri: str | None = None
    """A model that is to be fetched; else it is mounted at `source`."""
    hosts: tuple[str, ...] = ()
    cache_bytes: int = 0
    artefact: bool = False
    """Whether `source` is what `preamar-model optimize` published."""
    stages: int = 1
    """Pods that compute the model together; each keeps its own part."""
    engine: str = "None"
    """TensorRT where `source` holds what `preamar-model optimize` compiled, a folder for each product."""

    @property
    def on_gpu(self) -> bool:
        return self.accelerator == "GPU"


def read(environment: Mapping[str, str]) -> BuildSpec:
    """Raises `OrderUnreadable`, or `Refusal` for a name that Triton cannot carry."""
    text = environment.get("PREAMAR_MODEL")
    if not text:
        raise OrderUnreadable("PREAMAR_MODEL is not set")
    try:
        body = json.loads(text)
        batching = body.get("batching") or {}
        split = body.get("parallelism") or {}
        order = BuildSpec(
            name=str(body["name"]),
            source=str(body["source"]) if not body.get("uri") else "",
            format=str(body.get("format") or "Auto"),
            task=str(body.get("task") or "Infer"),
            trust=str(body.get("trust") or "Data"),
            digest=str(body["digest"]) if body.get("digest") else None,
            accelerator=str(body.get("accelerator") or "CPU"),
            max_batch_size=int(batching.get("maxBatchSize") or 8),
            max_delay_microseconds=int(batching.get("maxDelayMicroseconds") or 0),
            instances=int(body.get("instances") or 1),
            tensor=int(split.get("tensor") or 1),
            pipeline=int(split.get("pipeline") or 1),
            expert=int(split.get("expert") or 1),
            uri=str(body["uri"]) if body.get("uri") else None,
            hosts=tuple(map(str, body.get("hosts") or ())),
            cache_bytes=int(body.get("cacheBytes") or 0),
            artefact=bool(body.get("artefact")),
            stages=int(body.get("stages") or 1),
            engine=str(body.get("engine") or "None"),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OrderUnreadable(f"PREAMAR_MODEL is not what the builder reads: {error!r}") from error
    for word, value, known in (
        ("accelerator", order.accelerator, ("CPU", "GPU")),
        ("trust", order.trust, ("Data", "Code")),
        ("task", order.task, ("Infer", "Embed", "Generate", "Rank")),
        ("engine", order.engine, ("None", "TensorRT")),
    ):
        if value not in known:
            raise OrderUnreadable(
                f"PREAMAR_MODEL: {word} is {value!r}, not one of {', '.join(known)}"
            )
    sizes = (order.max_batch_size, order.instances, order.tensor, order.pipeline, order.expert)
    if min(sizes) < 1 or order.max_delay_microseconds < 0:
        raise OrderUnreadable(
            "PREAMAR_MODEL: maxBatchSize, instances and parallelism start at 1, delays at 0"
        )
    if not NAME.fullmatch(order.name):
        raise invalid(
            f"The model name {order.name!r} cannot be served: use letters, digits, '.', '_' and '-', "
            "starting with a letter or digit."
        )
    return order
