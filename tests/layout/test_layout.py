"""The tree keeps its shape: what must not exist, and what must be up to date.

Holds: operator/, crds/, uv.lock
"""

import ast
import subprocess
import sys
from pathlib import Path

from tests.layout.parsed import nodes

ROOT = Path(__file__).resolve().parents[2]
OPERATOR = ROOT / "operator"
HEAVY = {"torch", "tensorrt", "deepspeed", "onnxruntime", "numpy"}


def imports(path: Path) -> set[str]:
    """The top-level packages which a file imports, wherever in the file it does."""
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def test_operator_is_a_folder_and_not_a_package():
    assert not (OPERATOR / "__init__.py").exists(), "it would shadow the standard library"


def test_the_standard_library_module_is_still_found():
    code = "import operator; print(operator.__file__)"
    out = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not Path(out.stdout.strip()).is_relative_to(ROOT)


def test_the_operator_imports_no_heavy_framework():
    """The simulator may count with numpy: it is an extra, and not in the operator's image."""
    guilty = {
        p.name: found
        for p in OPERATOR.rglob("*.py")
        if (found := imports(p) & (HEAVY - ({"numpy"} if "simulate" in p.parts else set())))
    }
    assert not guilty


def test_the_operator_does_not_import_workloads_or_tests():
    foreign = {"e2e", "tests", "preamar_model", "preamar_train", "preamar_storage"}
    assert not {p.name for p in OPERATOR.rglob("*.py") if imports(p) & foreign}


def test_crds_on_disk_are_what_the_models_generate():
    run = subprocess.run(
        [sys.executable, "-m", "preamar.api.crd", "--check"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_custom_resource_definition_is_small():
    sizes = {p.name: p.stat().st_size for p in (ROOT / "crds").glob("*.yaml")}
    assert sizes
    assert max(sizes.values()) < 100_000


def test_every_python_dependency_is_locked_with_a_hash():
    lock = (ROOT / "uv.lock").read_text()
    wheels = [line for line in lock.splitlines() if "{ url = " in line]
    assert wheels
    assert all('hash = "sha256:' in line for line in wheels)
