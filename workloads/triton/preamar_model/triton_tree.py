"""Where is Triton, and what does it need around it to start?

In NVIDIA's image under /opt/tritonserver, whole. From the wheel nvidia-pytriton: a tree without
its Python stub in place, which is put beside links to the rest, in a directory of our own.
"""

import os
import shutil
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

NVIDIA = Path("/opt/tritonserver")
STUB = "triton_python_backend_stub"


class TritonMissing(Exception):
    """No Triton in this image; a fault of the image."""


@dataclass(frozen=True, slots=True)
class Tree:
    binary: Path
    backends: Path
    libraries: tuple[Path, ...]

    def environment(self) -> dict[str, str]:
        """The stub takes its packages from the `python3` first on PATH; models add this process's path."""
        here = [path for path in sys.path if path and Path(path).exists()]
        return {
            "PATH": _joined(str(Path(sys.executable).parent), os.environ.get("PATH")),
            "PREAMAR_PYTHONPATH": _joined(*here),
            "LD_LIBRARY_PATH": _joined(
                *map(str, self.libraries), os.environ.get("LD_LIBRARY_PATH")
            ),
        }


def find() -> Tree:
    if (NVIDIA / "bin/tritonserver").is_file():
        return Tree(NVIDIA / "bin/tritonserver", NVIDIA / "backends", ())
    found = find_spec("pytriton")
    if found is None or not found.submodule_search_locations:
        raise TritonMissing("neither /opt/tritonserver nor the package nvidia-pytriton is here")
    package = Path(found.submodule_search_locations[0])
    tree = package / "tritonserver"
    libraries = (package.parent / "nvidia_pytriton.libs", *_libpython())
    return Tree(tree / "bin/tritonserver", _backends(tree), libraries)


def _backends(tree: Path) -> Path:
    if (tree / "backends/python" / STUB).is_file():
        return tree / "backends"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = tree / "python_backend_stubs" / version / STUB
    if not stub.is_file():
        raise TritonMissing(f"nvidia-pytriton has no stub for Python {version}")
    target = Path(tempfile.mkdtemp(prefix="preamar-triton-")) / "backends/python"
    target.mkdir(parents=True)
    for part in (tree / "backends/python").iterdir():
        (target / part.name).symlink_to(part)
    shutil.copyfile(stub, target / STUB)
    (target / STUB).chmod(0o755)
    return target.parent


def _libpython() -> tuple[Path, ...]:
    """Where this interpreter's shared library is, when the loader does not know it by itself."""
    name = sysconfig.get_config_var("INSTSONAME") or ""
    folders = (Path(str(sysconfig.get_config_var("LIBDIR"))), Path(sys.base_prefix) / "lib")
    return tuple(folder for folder in folders[:1] if name and (folder / name).is_file())


def _joined(*parts: str | None) -> str:
    return os.pathsep.join(part for part in parts if part)
