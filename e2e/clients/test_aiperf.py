"""NVIDIA's aiperf as it is: it measures a model through the gateway, and counts what the gateway counts.

It is installed beside the project, from its own locked packages: they are many, and only this needs them.
"""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from e2e.clients.models import STORY
from e2e.cluster import Cluster
from e2e.demo.calls import used
from e2e.stages import ROOT

HERE = Path(__file__).with_name("aiperf")
PLACE, UV = ROOT / "build/aiperf", ROOT / "build/uv/bin/uv"
REQUESTS, TOKENS = 24, 12
pytestmark = pytest.mark.usefixtures("models")


@pytest.fixture(scope="module")
def aiperf() -> Path:
    """The program, installed by its lock."""
    locked, done = HERE / "requirements.txt", PLACE / "locked"
    if not done.exists() or done.read_bytes() != locked.read_bytes():
        subprocess.run([UV, "venv", "--quiet", "--clear", "--python", "3.11", PLACE], check=True)
        install = ["pip", "sync", "--quiet", "--require-hashes", "--python", PLACE / "bin/python"]
        subprocess.run([UV, *install, locked], check=True, timeout=600)
        done.write_bytes(locked.read_bytes())
    return PLACE / "bin/aiperf"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bytes, as the decoder reads them, in the files that aiperf loads."""
    place = tmp_path_factory.mktemp("tokenizer")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({byte: at for at, byte in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.save(str(place / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 4096}
    (place / "tokenizer_config.json").write_text(json.dumps(config))
    return place


@pytest.mark.parametrize("endpoint", ["completions", "chat"])
def test_aiperf_measures_streams_and_counts_what_the_gateway_counts(
    here: Cluster, aiperf: Path, tokenizer: Path, tmp_path: Path, endpoint: str
) -> None:
    before = used(here, "demo", STORY, "completions")
    found = profile(aiperf, here, tokenizer, tmp_path, endpoint)
    assert found["request_count"]["avg"] == REQUESTS
    assert "error_request_count" not in found or not found["error_request_count"]["avg"]
    assert found["output_token_throughput"]["avg"] > 0
    assert 0 < found["time_to_first_token"]["p50"] < found["request_latency"]["p50"] + 1
    time.sleep(0.5)
    grown = used(here, "demo", STORY, "completions").since(before)
    assert grown.requests == REQUESTS
    assert grown.output_tokens == REQUESTS * TOKENS


def profile(
    aiperf: Path, here: Cluster, tokenizer: Path, place: Path, endpoint: str
) -> dict[str, Any]:
    """What aiperf reports of its run."""
    words = [aiperf, "profile", "--model", STORY, "--url", here.gateway_url, "--streaming",
             "--endpoint-type", endpoint, "--api-key", here.key(), "--tokenizer", tokenizer,
             "--request-count", REQUESTS, "--concurrency", 4, "--use-server-token-count",
             "--prompt-input-tokens-mean", 24, "--prompt-output-tokens-mean", TOKENS,
             "--random-seed", 7, "--ui-type", "none", "--output-artifact-dir", place]  # fmt: skip
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (report,) = place.rglob("profile_export_aiperf.json")
    told: dict[str, Any] = json.loads(report.read_text())
    return told
