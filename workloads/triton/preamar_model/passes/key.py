"""When are two artefacts the same? When source, wish, calibration data, tools and processor are.

The processor counts because the form of INT8 is chosen by what it runs fastest.
"""

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from preamar_model.passes.optimize_spec import OptimizeSpec

METHOD = 2
"""To be raised when this package makes another artefact from the same input."""
TOOLS = ("onnx", "onnxruntime", "numpy")
FEATURES = {"avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}

WIDE = {"avx512_vnni", "avx_vnni", "amx_int8"}


def tools() -> dict[str, str]:
    return {"preamar-optimize": str(METHOD)} | {name: version(name) for name in TOOLS}


def machine(info: Path = Path("/proc/cpuinfo")) -> str:
    """Such as ``Linux/x86_64 avx2 avx512f``."""
    try:
        flags = FEATURES & set(info.read_text().split())
    except OSError:
        flags = set()
    return " ".join([f"{platform.system()}/{platform.machine()}", *sorted(flags)])


def saturates(where: str) -> bool:
    """Whether unsigned bytes by signed bytes may overflow there: without VNNI or AMX, x86 adds two
    such products in 16 bits. ``where`` is what ``machine`` says."""
    system, *features = where.split()
    return system.endswith(("/x86_64", "/AMD64")) and not set(features) & WIDE


def key(
    wish: OptimizeSpec, source: str, calibration: str | None, where: Mapping[str, str] | None = None
) -> str:
    """SHA-256 over canonical JSON; ``source`` and ``calibration`` are digests, ``where`` is the GPU
    that an engine is built on."""
    parts = {
        "source": source,
        "calibration": calibration,
        "wish": wish.canonical(),
        "tools": tools(),
        "machine": machine(),
    } | ({"where": dict(where)} if where else {})
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
