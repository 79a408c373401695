"""Which kinds there are, and how kubectl names, lists and scales them."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from preamar.api.inference import InferenceService
from preamar.api.meta import SpecModel
from preamar.api.tenant import Tenant
from preamar.api.training import TrainingJob


class Column(NamedTuple):
    """A column of ``kubectl get``; ``wide`` ones only with ``-o wide``."""

    name: str
    path: str
    description: str
    type: Literal["string", "integer", "date"] = "string"
    wide: bool = False


class ScalePaths(NamedTuple):
    """What ``kubectl scale`` and an HPA read and write."""

    wanted: str
    running: str
    selector: str = ".status.selector"


@dataclass(frozen=True, slots=True)
class ResourceKind:
    """One resource."""

    model: type[SpecModel]
    plural: str
    short: tuple[str, ...]
    columns: tuple[Column, ...]
    scope: Literal["Namespaced", "Cluster"] = "Namespaced"
    scale: ScalePaths | None = None
    selectable: tuple[str, ...] = ()


def _condition(kind: str, field: str) -> str:
    return f'.status.conditions[?(@.type=="{kind}")].{field}'


AGE = Column("Age", ".metadata.creationTimestamp", "When it was made.", "date")

KINDS = (
    ResourceKind(
        InferenceService,
        "inferenceservices",
        ("infsvc",),
        (
            Column("Ready", _condition("Ready", "status"), "Whether callers are served."),
            Column("Reason", _condition("Ready", "reason"), "Why, in one word."),
            Column("Wanted", ".spec.replicas", "Copies asked for.", "integer"),
            Column("Running", ".status.readyReplicas", "Copies that answer.", "integer"),
            AGE,
            Column("Model", ".spec.model.uri", "Where the model is.", wide=True),
            Column("URL", ".status.url", "Where callers reach it.", wide=True),
            Column("Accelerator", ".spec.accelerator.type", "GPU or CPU.", wide=True),
            Column("Min", ".spec.scaling.min", "Copies at least.", "integer", wide=True),
            Column("Max", ".spec.scaling.max", "Copies at most.", "integer", wide=True),
            Column("Stalled", _condition("Stalled", "message"), "What to do.", wide=True),
        ),
        scale=ScalePaths(".spec.replicas", ".status.replicas"),
        selectable=(".spec.model.name", ".spec.accelerator.type"),
    ),
    ResourceKind(
        TrainingJob,
        "trainingjobs",
        ("tjob",),
        (
            Column("Succeeded", _condition("Succeeded", "status"), "Whether it is done."),
            Column("Reason", _condition("Succeeded", "reason"), "Why, in one word."),
            Column("Workers", ".status.workers", "Workers that run.", "integer"),
            Column("Step", ".status.progress.step", "Steps done.", "integer"),
            Column("Steps", ".spec.steps", "Steps to do.", "integer"),
            Column("Loss", ".status.progress.loss", "The training loss."),
            Column("ETA", ".status.progress.etaSeconds", "Seconds left.", "integer"),
            AGE,
            Column("Wanted", ".spec.workers.replicas", "Workers asked for.", "integer", wide=True),
            Column("Speed", ".status.progress.samplesPerSecond", "Samples a second.", wide=True),
            Column("Cost", ".status.quote.cost", "Money for all steps.", wide=True),
            Column(
                "Checkpoint", ".status.checkpoint.step", "Last saved step.", "integer", wide=True
            ),
            Column("Restarts", ".status.restarts", "Restarts counted.", "integer", wide=True),
            Column("Queue", ".spec.queueName", "The Kueue queue.", wide=True),
            Column("Stalled", _condition("Stalled", "message"), "What to do.", wide=True),
        ),
        scale=ScalePaths(".spec.workers.replicas", ".status.workers"),
        selectable=(".spec.queueName", ".spec.model.preset"),
    ),
    ResourceKind(
        Tenant,
        "tenants",
        ("ptenant",),
        (
            Column("Ready", _condition("Ready", "status"), "Whether it may spend."),
            Column("Reason", _condition("Ready", "reason"), "Why, in one word."),
            Column("Spent", ".status.spent", "Money spent in this period."),
            Column("Remaining", ".status.remaining", "Money left in this period."),
            AGE,
            Column("Currency", ".spec.budget.currency", "The budget's currency.", wide=True),
        ),
        scope="Cluster",
    ),
)
