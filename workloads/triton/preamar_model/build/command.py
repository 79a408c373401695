"""How does a user's model become a Triton model repository? Find, check, recognise, convert.

Exit codes: 0 done (the termination message says digest, bytes and format), 64 the user's model or
wish cannot be served (the message says why), 1 a fault of the world, to be retried.
"""

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from preamar_model import order as orders
from preamar_model.build import plan
from preamar_model.files import recognise
from preamar_model.files import source
from preamar_model.build import tasks
from preamar_model.build import trtllm
from preamar_model.build import vllm
from preamar_model.build import multi_model
from preamar_model.exit_report import Told, carried_out
from preamar_model.engine import choose
from preamar_model.engine.choose import Choice
from preamar_model.files.publish import RECORD
from preamar_model.refusal import missing, unsupported
from preamar_model.build.repository import VERSION, Repository

MODELS = "/models"
CACHE, SECRET = Path("/mnt/cache"), Path("/mnt/credentials")
ROOTS = Path("/mnt/roots/ca.crt")
"""More certificates to trust, where the installation has such."""
DEFAULT_BYTES = 100 * 2**30
BY_KIND: Mapping[recognise.ModelKind, Callable[[source.Source, orders.BuildSpec, Repository], None]] = {
    recognise.ModelKind.PYTHON: tasks.python,
    recognise.ModelKind.REPOSITORY: multi_model.write,
    recognise.ModelKind.VLLM: vllm.write,
    recognise.ModelKind.TENSORRT_LLM: trtllm.write,
    recognise.ModelKind.TENSORRT: plan.write,
}
BY_TASK = {"Infer": tasks.infer, "Embed": tasks.embed, "Generate": tasks.generate}
"""What becomes of graphs and weights."""


def main() -> int:
    """`preamar-model build`."""
    return _ordered("built", lambda order: build(order, _models()))


def fetch() -> int:
    """`preamar-model fetch`: the model is brought into the cache, for pods that will want it."""
    return _ordered("fetched", only_fetched)


def _models() -> Path:
    return Path(os.environ.get("PREAMAR_MODELS", MODELS))


def _ordered(done: str, act: Callable[[orders.BuildSpec], dict[str, object]]) -> int:
    def told() -> Told:
        order = orders.read(os.environ)
        return order.name, act(order)

    return carried_out(told, done, f"The model could not be {done}")


def build(order: orders.BuildSpec, models: Path) -> dict[str, object]:
    """Raises `Refusal` for what the user can mend."""
    if order.uri is None:
        return build_from(order.source, order, models)
    with here(order) as folder:
        return build_from(str(folder), order, models)


def _keep_part(order: orders.BuildSpec, models: Path) -> None:
    """Each pod of a group keeps the stage that it computes."""
    from preamar_model.group import words
    from preamar_model.group.stages import keep_stage

    if order.on_gpu:
        raise unsupported(
            "On GPUs a model spans pods by vLLM (format VLLM) or by an engine that it brings (format Python)."
        )
    group = words.read(os.environ)
    keep_stage(models / order.name / VERSION, order.stages, group.rank if group else 0)


def only_fetched(order: orders.BuildSpec) -> dict[str, object]:
    """Raises `Refusal` for what the user can mend, a wrong digest included."""
    with here(order) as folder:
        found = source.find(str(folder))
        return {"digest": source.check_digest(found, order.digest), "bytes": found.bytes()}


def here(order: orders.BuildSpec) -> AbstractContextManager[Path]:
    """The model of an order with a `uri`, fetched; it stays while the context lasts."""
    from preamar_model.remote.fetch import FetchSpec, fetched

    secret, roots = (path if path.exists() else None for path in (SECRET, ROOTS))
    most = order.cache_bytes or DEFAULT_BYTES
    return fetched(FetchSpec(order.uri or "", CACHE, most, secret, order.hosts, roots))


def build_from(path: str, order: orders.BuildSpec, models: Path) -> dict[str, object]:
    """The same for a model that lies here."""
    choice = _engine(path, order)
    if order.artefact and choice is None and not Path(path, RECORD).exists():
        raise missing()
    found = source.find(str(choice.folder) if choice else path)
    kind = recognise.recognise(found, order)
    digest = source.check_digest(found, order.digest)
    repository = Repository(models, order, choice.plan if choice else None)
    repository.begin()
    _written(kind, found, order, repository)
    repository.finish()
    if order.stages > 1 and kind not in {recognise.ModelKind.PYTHON, recognise.ModelKind.VLLM}:
        _keep_part(order, models)
    told = {"digest": digest, "bytes": found.bytes(), "format": str(kind)}
    return told | (choice.told() if choice else {})


def _engine(path: str, order: orders.BuildSpec) -> Choice | None:
    if order.engine == "None":
        return None
    choice = choose.choose(Path(path), choose.here(), order.max_batch_size)
    if choice.why:
        print(f"No engine is served: {choice.why}.", file=sys.stderr)
    return choice


def _written(
    kind: recognise.ModelKind, found: source.Source, order: orders.BuildSpec, to: Repository
) -> None:
    if write := BY_KIND.get(kind):
        write(found, order, to)
    elif by_task := BY_TASK.get(order.task):
        by_task(found, kind, order, to)
    else:
        raise unsupported(
            f"Task {order.task} is not served by this image; it serves {', '.join(BY_TASK)}."
        )
