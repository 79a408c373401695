"""Does a class's name say which class it is? One with two homes has to be asked for its room first.

A word may have several homes where it means the same in each, of another kind or process: such are
in a table, with the reason.

Holds: operator/, workloads/
"""

import ast
from collections import defaultdict

from tests.layout.test_rooms import SOURCES, modules

OF_EACH_KIND = ("core.serving", "core.training")
ALIKE = {
    # The pattern that each kind of resource is written in: what was seen, what follows from it,
    # what is decided. Who has read one kind knows where to look in the other.
    "Observed": ["core.serving.observe", "core.tenants", "core.training.observe"],
    "Facts": [f"{kind}.facts" for kind in OF_EACH_KIND],
    "Step": [f"{kind}.step" for kind in OF_EACH_KIND],
    # What a process was told to be. Nobody has two of them before him.
    "Settings": ["core.settings", "gateway.settings", "preamar_train.agent.settings"],
    # A source as its user wrote it and as the trainer is told of it, which imports nothing of ours.
    "DataSource": ["api.recipe", "preamar_train.request"],
    # Triton's own name of what it looks for in a model's file.
    "TritonPythonModel": [
        f"preamar_model.backends.{name}"
        for name in ("embed", "generate", "infer", "trtllm", "vllm")
    ],
}
"""Names that several classes have, and where those are."""


def classes_of(source):
    """The public classes that a file offers."""
    body = ast.parse(source).body
    return [n.name for n in body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")]


def shared(sources):
    """Names with several homes, of the files' text by module."""
    homes = defaultdict(list)
    for module, source in sorted(sources.items()):
        for name in classes_of(source):
            homes[name].append(module.removeprefix("preamar."))
    return {name: where for name, where in homes.items() if len(where) > 1}


def test_a_class_has_a_name_of_its_own():
    files = {name: path for package in SOURCES for name, path in modules(package).items()}
    assert shared({name: path.read_text() for name, path in files.items()}) == ALIKE


def test_a_second_home_is_found():
    order, private = "class Order:\n    pass\n", "class _Order:\n    pass\n"
    inner = "class Outer:\n    class Order:\n        pass\n"
    assert shared({"preamar.a": order, "preamar_train.b": order, "preamar.c": inner}) == {
        "Order": ["a", "preamar_train.b"]
    }
    assert not shared({"preamar.a": order, "preamar.b": inner, "preamar.c": private})
    assert not shared({"preamar.a": private, "preamar.b": private})
