"""How is a Triton repository of several models served? Whole, and its top model under the service's
name: the one ensemble that no other calls, or the one that has that name already.

Only what decides is read here; Triton reads the rest when it loads the models. Its libraries are searched for in a model's folder first, so a library there is code.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from preamar_model import triton_tree
from preamar_model.files import pbtxt_reader
from preamar_model.order import NAME, BuildSpec
from preamar_model.files.pbtxt_reader import Message, Unreadable
from preamar_model.refusal import RefusalReason, Refusal, invalid, unsupported
from preamar_model.build.repository import ASIDE, VERSION, Repository
from preamar_model.files.source import Source
from preamar_model.build.trusted import top_fields

ENSEMBLE = "ensemble"
DATA = {ENSEMBLE, "onnxruntime", "tensorrt"}
"""Backends whose models are no code."""
PLATFORMS = {
    "onnxruntime_onnx": "onnxruntime",
    "tensorrt_plan": "tensorrt",
    "pytorch_libtorch": "pytorch",
    "tensorflow_graphdef": "tensorflow",
    "tensorflow_savedmodel": "tensorflow",
}
LIBRARY = re.compile(r"\.so(\.|$)")


@dataclass(frozen=True, slots=True)
class MemberModel:
    name: str
    text: str
    backend: str
    calls: tuple[str, ...]
    libraries: bool
    """Whether its configuration names libraries that are loaded with it."""


def write(source: Source, order: BuildSpec, to: Repository) -> None:
    """Raises `Refusal` for what Triton could not load, and for code that its owner does not trust."""
    models = {name: _model(source, name) for name in folders(source)}
    top = _top(models, order.name)
    for model in models.values():
        _check(model, models, source, order)
    for model in models.values():
        name = order.name if model.name == top else model.name
        target = to.root / ASIDE / name
        for file in _files(source, model.name):
            source.copy(file, target / file.partition("/")[2])
        if model.backend == ENSEMBLE:  # its version is an empty folder, which buckets do not have
            (target / VERSION).mkdir(exist_ok=True)
        (target / "config.pbtxt").write_text(_named(model, name))
        to.finished.append(name)


def folders(source: Source) -> tuple[str, ...]:
    """The models of a repository: its folders with a configuration."""
    parts = (name.split("/") for name in source.files)
    return tuple(p[0] for p in parts if len(p) == 2 and p[1] == "config.pbtxt")


def _files(source: Source, name: str) -> list[str]:
    return [file for file in source.files if file.startswith(f"{name}/")]


def _model(source: Source, name: str) -> MemberModel:
    if not NAME.fullmatch(name):
        raise invalid(f"The folder {name!r} cannot be a model's name.")
    try:
        text = source.at(f"{name}/config.pbtxt").read_text()
        told = pbtxt_reader.read(text)
    except (Unreadable, UnicodeDecodeError) as error:
        raise invalid(f"{name}/config.pbtxt is not protobuf text: {error}.") from error
    said = _word(told, "name")
    if said and said != name:
        raise invalid(f"{name}/config.pbtxt says name {said!r}; it must be its folder's name.")
    platform = _word(told, "platform")
    backend = _word(told, "backend") or PLATFORMS.get(platform, platform)
    steps = (s for e in _messages(told, "ensemble_scheduling") for s in _messages(e, "step"))
    calls = tuple(_word(step, "model_name") for step in steps)
    libraries = "runtime" in told or "model_operations" in told
    return MemberModel(name, text, backend, calls, libraries)


def _word(message: Message, field: str) -> str:
    return next((v for v in message.get(field, ()) if isinstance(v, str)), "")


def _messages(message: Message, field: str) -> list[Message]:
    return [v for v in message.get(field, ()) if isinstance(v, dict)]


def _top(models: Mapping[str, MemberModel], wanted: str) -> str:
    called = {step for model in models.values() for step in model.calls}
    tops = [m.name for m in models.values() if m.backend == ENSEMBLE and m.name not in called]
    if wanted in models and wanted not in called and (wanted in tops or not tops):
        return wanted
    if wanted in models:
        raise invalid(
            f"The repository's model {wanted!r} has the name that the service is called by, and is "
            "not the one to call; rename it or the service."
        )
    if len(tops) == 1:
        return tops[0]
    raise invalid(
        f"The repository's models are {', '.join(sorted(models)[:6])}, with {len(tops)} ensembles that "
        f"no other calls; name the one to call {wanted!r}, as the service."
    )


def _check(model: MemberModel, models: Mapping[str, MemberModel], source: Source, order: BuildSpec) -> None:
    files = _files(source, model.name)
    if not model.backend:
        raise invalid(f"{model.name}/config.pbtxt gives no backend.")
    libraries = model.libraries or any(LIBRARY.search(file) for file in files)
    if order.trust != "Code" and (libraries or model.backend not in DATA):
        why = "brings libraries" if libraries else f"is served by {model.backend!r}"
        raise Refusal(
            RefusalReason.CODE_NOT_TRUSTED,
            f"The model {model.name!r} {why}, which runs its author's code when it is loaded; set "
            "spec.model.trust to Code if you trust it.",
        )
    if model.backend == ENSEMBLE:
        if not model.calls:
            raise invalid(f"The ensemble {model.name!r} has no steps.")
        if missing := [step for step in model.calls if step not in models]:
            raise invalid(f"The ensemble {model.name!r} calls {missing[0]!r}, which is not there.")
        return
    here = {entry.name for entry in triton_tree.find().backends.iterdir()}
    if model.backend not in here:
        raise unsupported(
            f"The model {model.name!r} needs the backend {model.backend!r}; this image has "
            f"{', '.join(sorted(here))}."
        )
    if not any(file.split("/")[1].isdigit() for file in files):
        raise invalid(f"The model {model.name!r} has no version; its files belong in {VERSION}/.")


def _named(model: MemberModel, name: str) -> str:
    if name == model.name:
        return model.text
    kept = [line for line, field, _ in top_fields(model.text) if field != "name"]
    text = "\n".join([f'name: "{name}"', *kept]) + "\n"
    try:
        pbtxt_reader.read(text)
    except Unreadable as error:
        raise invalid(
            f"{model.name}/config.pbtxt: write the model's name on a line of its own."
        ) from error
    return text
