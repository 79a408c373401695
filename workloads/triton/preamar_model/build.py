"""How does a user's model become a Triton model repository? Find, check, recognise, convert.

Exit codes: 0 done (the termination message says digest, bytes and format), 64 the user's model or
wish cannot be served (the message says why), 1 a fault of the world, to be retried.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from preamar_model import order as orders
from preamar_model import recognise, source, tasks
from preamar_model.refusal import EXIT_REFUSED, Refusal, last_words, sentence, unsupported
from preamar_model.repository import Repository

MODELS = "/models"
CACHE, SECRET = Path("/mnt/cache"), Path("/mnt/credentials")
ROOTS = Path("/mnt/roots/ca.crt")
"""More certificates to trust, where the installation has such."""
DEFAULT_BYTES = 100 * 2**30


def main() -> int:
    """`preamar-model build`."""
    return carried_out("built", lambda order: build(order, _models()))


def fetch() -> int:
    """`preamar-model fetch`: the model is brought into the cache, for pods that will want it."""
    return carried_out("fetched", only_fetched)


def _models() -> Path:
    return Path(os.environ.get("PREAMAR_MODELS", MODELS))


def carried_out(done: str, act: Callable[[orders.Order], dict[str, object]]) -> int:
    """The exit code of an order, after the last words have been written."""
    began = time.monotonic()
    try:
        order = orders.read(os.environ)
        told = act(order)
    except Refusal as refusal:
        last_words(refusal.as_json())
        print(f"refused: {refusal.as_json()}", file=sys.stderr)
        return EXIT_REFUSED
    except Exception as error:  # noqa: BLE001 - the last frame: everything else is the world's
        text = sentence(f"The model could not be {done}: {type(error).__name__}: {error}")
        last_words(text)
        print(text, file=sys.stderr)
        return 1
    last_words(json.dumps(told))
    print(
        f"{done} {order.name} in {time.monotonic() - began:.1f} s: {json.dumps(told)}",
        file=sys.stderr,
    )
    return 0


def build(order: orders.Order, models: Path) -> dict[str, object]:
    """Raises `Refusal` for what the user can mend."""
    if order.uri is None:
        return build_from(order.source, order, models)
    with here(order) as folder:
        return build_from(str(folder), order, models)


def only_fetched(order: orders.Order) -> dict[str, object]:
    """Raises `Refusal` for what the user can mend, a wrong digest included."""
    with here(order) as folder:
        found = source.find(str(folder))
        return {"digest": source.check_digest(found, order.digest), "bytes": found.bytes()}


def here(order: orders.Order) -> AbstractContextManager[Path]:
    """The model of an order with a `uri`, fetched; it stays while the context lasts."""
    from preamar_model.remote.fetch import Wish, fetched

    secret, roots = (path if path.exists() else None for path in (SECRET, ROOTS))
    most = order.cache_bytes or DEFAULT_BYTES
    return fetched(Wish(order.uri or "", CACHE, most, secret, order.hosts, roots))


def build_from(path: str, order: orders.Order, models: Path) -> dict[str, object]:
    """The same for a model that lies here."""
    found = source.find(path)
    kind = recognise.recognise(found, order)
    digest = source.check_digest(found, order.digest)
    repository = Repository(models, order)
    repository.begin()
    if kind is recognise.Kind.PYTHON:
        tasks.python(found, order, repository)
    elif order.task == "Infer":
        tasks.infer(found, kind, order, repository)
    elif order.task == "Embed":
        tasks.embed(found, kind, order, repository)
    elif order.task == "Generate":
        tasks.generate(found, kind, order, repository)
    else:
        raise unsupported(
            f"Task {order.task} is not served by this image; it serves Infer, Embed and Generate."
        )
    repository.finish()
    return {"digest": digest, "bytes": found.bytes(), "format": str(kind)}
