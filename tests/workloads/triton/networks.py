"""Small networks to optimise, and the command that does it as a pod runs it."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
from graphs import save, value
from onnx import TensorProto, helper
from running import Done, environment

WIDTH = 32


def layered(path: Path, *, outlier: float = 1.0, seed: int = 1) -> Path:
    """x[n,32] -> calm -> Relu -> loud -> Relu -> last -> y[n,32].

    What `loud` reads has one unit ``outlier`` times as large as the others, which it weighs as
    little as that: one scale for all units then leaves the others no digits.
    """
    chance = np.random.default_rng(seed)
    held = {
        name: (chance.standard_normal((WIDTH, WIDTH)) * WIDTH**-0.5).astype(np.float32)
        for name in ("w1", "w2", "w3")
    }
    held |= {f"b{n}": chance.standard_normal(WIDTH).astype(np.float32) / 4 for n in (1, 2, 3)}
    held["w1"][:, 0] *= outlier
    held["w2"][0] /= outlier
    make = helper.make_node
    nodes = []
    for name, n, into, out in (("calm", 1, "x", "r1"), ("loud", 2, "r1", "r2"), ("last", 3, "r2", "y")):  # fmt: skip
        nodes.append(make("MatMul", [into, f"w{n}"], [f"m{n}"], name=name))
        nodes.append(make("Add", [f"m{n}", f"b{n}"], [out if n == 3 else f"a{n}"]))
        nodes += [make("Relu", [f"a{n}"], [out])] if n < 3 else []
    x, y = (value(name, TensorProto.FLOAT, "batch", 4, WIDTH) for name in "xy")
    return save(path, nodes, [x], [y], held)


def convolved(path: Path, *, residual: bool = False, seed: int = 2) -> Path:
    """x[n,3,h,w] through three convolutions to y[n,8,h,w]; with a residual over the second."""
    chance = np.random.default_rng(seed)

    def draw(out: int, into: int) -> np.ndarray:
        return (chance.standard_normal((out, into, 3, 3)) / (3 * into**0.5)).astype(np.float32)

    held = {"w1": draw(16, 3), "w2": draw(16, 16), "w3": draw(8, 16)}
    held |= {"b1": np.full(16, 0.1, np.float32)}
    make = helper.make_node
    nodes = [
        make("Conv", ["x", "w1", "b1"], ["c1"], name="first", pads=[1, 1, 1, 1]),
        make("Relu", ["c1"], ["r1"]),
        make("Conv", ["r1", "w2"], ["c2"], name="second", pads=[1, 1, 1, 1]),
        make("Add", ["c2", "r1"], ["r2"]) if residual else make("Relu", ["c2"], ["r2"]),
        make("Conv", ["r2", "w3"], ["y"], name="third", pads=[1, 1, 1, 1]),
    ]
    x = value("x", TensorProto.FLOAT, "batch", 3, "h", "w")
    return save(path, nodes, [x], [value("y", TensorProto.FLOAT, "batch", 8, "h", "w")], held)


def optimize(order: dict, message: Path) -> Done:
    """`preamar-model optimize` inside this process: its exit code and termination message."""
    from preamar_model.optimize import command

    message.unlink(missing_ok=True)
    more = {"PREAMAR_OPTIMIZE": json.dumps(order), "PREAMAR_TERMINATION_LOG": str(message)}
    with mock.patch.dict(os.environ, more), contextlib.redirect_stderr(io.StringIO()) as log:
        code = command.main()
    text = message.read_text()
    try:
        told = json.loads(text)
    except ValueError:
        told = text
    return Done(code, told, log.getvalue())


def optimize_command(order: dict, before: str = "") -> subprocess.CompletedProcess[str]:
    """The same in a process of its own, after ``before`` has been run in it."""
    code = f"{before}\nimport sys\nsys.argv = ['preamar-model', 'optimize']\nfrom preamar_model.__main__ import main\nsys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment(PREAMAR_OPTIMIZE=json.dumps(order)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def record(target: Path) -> dict:
    return json.loads((target / "preamar-optimization.json").read_text())
