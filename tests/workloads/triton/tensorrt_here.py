"""The real TensorRT as far as it goes without a GPU, in a folder of its own.

`tensorrt_bindings` is NVIDIA's package as it is. Its library libnvinfer comes from no registry as a wheel;
TensorRT for RTX, the same compiler behind the same interface, does (inside ONNX Runtime's provider for
it), and it builds engines without a driver. What it builds is for RTX and not what Triton loads: it
shows that our calls exist and are accepted, and that the graphs parse and compile.
"""

import importlib.util
import shutil
import sys
from pathlib import Path

STANDS_FOR = {
    "libnvinfer.so.11": "libtensorrt_rtx.so.1.",
    "libnvinfer_plugin.so.11": "libtensorrt_rtx.so.1.",  # nothing of it is called
    "libtensorrt_rtx.so.1": "libtensorrt_rtx.so.1.",
    "libnvonnxparser.so.11": "libtensorrt_onnxparser_rtx.so.1.",
}


def lay(folder: Path) -> Path:
    """The package in ``folder``, which is to be put first on sys.path."""
    package, libraries = (
        _folder(n) for n in ("tensorrt_bindings", "onnxruntime_ep_nv_tensorrt_rtx")
    )
    target = folder / "tensorrt_bindings"
    shutil.copytree(package, target, ignore=shutil.ignore_patterns("__pycache__"))
    for name, start in STANDS_FOR.items():
        (found,) = (path for path in libraries.iterdir() if path.name.startswith(start))
        (target / name).symlink_to(found)  # the bindings look beside themselves
    # One function of the plugins' library is in neither; nobody calls it, but its name must be found.
    bindings = target / "tensorrt.so"
    absent, there = b"\0initLibNvInferPlugins\0", b"\0getInferLibVersion"
    code = bindings.read_bytes()
    assert absent in code
    bindings.write_bytes(code.replace(absent, there.ljust(len(absent), b"\0")))
    return folder


def load(folder: Path) -> object:
    sys.path.insert(0, str(lay(folder)))
    try:
        import tensorrt_bindings
    finally:
        sys.path.pop(0)
    return tensorrt_bindings


def _folder(name: str) -> Path:
    found = importlib.util.find_spec(name)
    assert found is not None, f"{name} is missing: make setup"
    return Path(found.submodule_search_locations[0])
