"""How does a builder under test try a graph? In this process, where it costs no start of another one."""

import contextlib
import io
import subprocess
from types import SimpleNamespace

import pytest
from preamar_model.build import trial
from preamar_model.files import onnx_file


def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
    """What `subprocess.run` would say of the trial."""
    assert command[1:3] == ["-m", "preamar_model.build.trial"]
    with contextlib.redirect_stderr(io.StringIO()) as said:
        code = trial.main(command[3])
    return subprocess.CompletedProcess(command, code, "", said.getvalue())


def here(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(onnx_file, "subprocess", SimpleNamespace(run=run))


def apart(patch: pytest.MonkeyPatch) -> None:
    """As it is: what a broken graph brings down is not who asked."""
    patch.setattr(onnx_file, "subprocess", subprocess)
