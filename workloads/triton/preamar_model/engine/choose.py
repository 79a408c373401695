"""Which of the engines that were built does this pod run? That of its GPU's product, if it is whole and of
the same TensorRT; else the graph that lies beside each engine, which is right on whatever the pod has.

A pod learns which GPU it got only when it is there, so engines for all products lie in one folder.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from preamar_model.engine import metadata
from preamar_model.engine.device import Driver
from preamar_model.files.onnx_file import MODEL
from preamar_model.refusal import missing


@dataclass(frozen=True, slots=True)
class Choice:
    """``folder`` holds the graph and what belongs to it; ``plan`` is None where no engine fits,
    ``why`` says the reason then."""

    folder: Path
    plan: Path | None
    why: str = ""

    def told(self) -> dict[str, str]:
        """For the last words of the container."""
        return {"engine": "TensorRT"} if self.plan else {"engine": "None", "why": self.why}


def here() -> Mapping[str, str]:
    """What this pod is like. Raises `NoGpu`."""
    from preamar_model.engine.workshop import package

    return metadata.place(str(package().__version__), Driver().gpu())


def choose(root: Path, where: Mapping[str, str], batch: int) -> Choice:
    """``root`` holds a folder for each product; ``batch`` is what will be asked of it at most. Raises
    `Refusal` where there is nothing."""
    published = sorted(
        p.parent for p in root.glob(f"*/{MODEL}") if not p.parent.name.startswith(".")
    )
    if not published:
        raise missing()
    mine = root / where["product"]
    if mine not in published:
        names = ", ".join(path.name for path in published)
        return Choice(
            published[0], None, f"this GPU is {where['product']}, engines are for {names}"
        )
    why = metadata.mismatch(mine, where, batch)
    return Choice(mine, None if why else mine / metadata.PLAN, why or "")
