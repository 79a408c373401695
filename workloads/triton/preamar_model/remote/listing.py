"""Which files make up a remote model, exactly as they are now?

Names, sizes and versions, by obstore's listing or the hub's own. A repository of a hub often holds the
same weights in many formats; what this image cannot serve is left where it is, if it is not all.
"""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import obstore
from preamar_storage.version import strong_tag, version_of

from preamar_model.refusal import Refusal, RefusalReason, invalid
from preamar_model.remote.attempts import tried
from preamar_model.remote.files import Remote, must_be_plain, not_too_many
from preamar_model.remote.gate import Gate
from preamar_model.remote.hub import in_hub
from preamar_model.remote.location import SourceLocation

UNSERVED = frozenset(
    [
        ".bin",
        ".h5",
        ".msgpack",
        ".ot",
        ".pt",
        ".pth",
        ".ckpt",
        ".pkl",
        ".gguf",
        ".tflite",
        ".mlmodel",
        ".keras",
        ".pb",
        ".npz",
    ]
)


def listed(
    place: SourceLocation, store: Any, gate: Gate, roots: bytes | None = None
) -> tuple[Remote, ...]:
    """All files, by name. Raises `Refusal` where there is none or a name cannot be a file's."""
    if place.scheme == "hf":
        found = in_hub(place, gate, roots)
    elif place.scheme == "https":
        found = [_one(place, store, place.key, gate)]
    else:
        found = _of_bucket(place, store, gate)
    for each in found:
        must_be_plain(each.name)
    found = _servable(found, of_hub=place.scheme == "hf")
    if len({each.name for each in found}) != len(found):
        raise invalid(f"{place.uri} holds two files of one name.")
    return tuple(sorted(found, key=lambda each: each.name))


def _of_bucket(place: SourceLocation, store: Any, gate: Gate) -> list[Remote]:
    def listing() -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        for page in obstore.list(store, place.key or None, chunk_size=1000):
            found += page
            not_too_many(place.uri, len(found))
        return found

    prefix = place.key
    metas = tried(place.uri, listing, gate.reason)
    if not metas and prefix:
        return [_one(place, store, prefix, gate)]
    cut = len(prefix) + 1 if prefix else 0
    found = [_remote(m, m["path"][cut:]) for m in metas if m["path"][cut:] and m["size"]]
    if not found:
        raise Refusal(RefusalReason.MODEL_NOT_FOUND, f"{place.uri} holds no file.")
    return found


def _one(place: SourceLocation, store: Any, key: str, gate: Gate) -> Remote:
    meta = tried(place.uri, lambda: obstore.head(store, key), gate.reason)
    return _remote(meta, PurePosixPath(key).name, key)


def _remote(meta: Mapping[str, Any], name: str, key: str | None = None) -> Remote:
    return Remote(key or meta["path"], name, meta["size"], version_of(meta), strong_tag(meta))


def _servable(found: list[Remote], *, of_hub: bool) -> list[Remote]:
    good = [each for each in found if PurePosixPath(each.name).suffix not in UNSERVED]
    if not any(e.name.endswith((".safetensors", ".onnx", ".plan", ".py")) for e in good):
        return found  # whoever recognises formats says what is wrong with them
    if not of_hub:
        return good
    names = {each.name for each in good}
    for folder in ("", "onnx/"):
        if f"{folder}model.onnx" in names:
            good = [e for e in good if not _variant(e.name, folder)]
    return [e for e in good if not e.name.startswith(("openvino/", "coreml/"))]


def _variant(name: str, folder: str) -> bool:
    """Beside a graph a hub holds variants of it, each as large."""
    return name.startswith(f"{folder}model_") and name.endswith(".onnx")
