"""What a mixture of experts is served as: the same answers, and how many tokens each expert took.

Holds: preamar_model/backends/decoding/routing.py, preamar_model/build/routers.py,
preamar_train/export/llama.py
"""

import json
import sys
import time
import urllib.request
from pathlib import Path

import decoders
import numpy as np
import onnx
import pytest
from preamar_model.backends.decoding.routing import MOST_SERIES, Routing
from preamar_model.build import routers
from preamar_model.passes.session import Session
from prometheus_client.parser import text_string_to_metric_families
from running import build_here

ROOT = Path(__file__).resolve().parents[5]
sys.path.insert(0, str(ROOT / "workloads/deepspeed"))

from preamar_train.export import graph, llama  # noqa: E402
from preamar_train.models.presets import shape_of  # noqa: E402

from tests.workloads.deepspeed.export.test_graph import weights_of  # noqa: E402

SHAPE = shape_of(
    "moe-tiny",
    {"layers": 2, "hidden": 32, "heads": 4, "kvHeads": 2, "intermediate": 24, "experts": 5}
    | {"vocabulary": 512},
)


@pytest.fixture(scope="module")
def mixture(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mixture")
    weights = weights_of(SHAPE)
    for n in range(SHAPE.layers):
        weights[f"model.layers.{n}.block_sparse_moe.gate.weight"] *= 5
    graph.save(graph.build(SHAPE, weights), folder / "model.onnx")
    decoders.tokenizer().save(str(folder / "tokenizer.json"))
    config = llama.config(SHAPE) | {"eos_token_id": decoders.END, "bos_token_id": decoders.END}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def feed(ids: list[int]) -> dict[str, np.ndarray]:
    given = {"input_ids": np.array([ids]), "position_ids": np.arange(len(ids))[None]}
    given["attention_mask"] = np.ones((1, len(ids)), np.int64)
    for number in range(SHAPE.layers):
        for part in ("key", "value"):
            empty = np.zeros((1, SHAPE.kv_heads, 0, SHAPE.head_size), np.float32)
            given[f"past_key_values.{number}.{part}"] = empty
    return given


def test_the_choices_are_told_and_the_answers_stay_bit_for_bit(mixture):
    before = onnx.load(str(mixture / "model.onnx"))
    after = onnx.load(str(mixture / "model.onnx"))
    experts, names = routers.expose(after, json.loads((mixture / "config.json").read_text()))
    assert (experts, names) == (5, ["preamar_experts.0", "preamar_experts.1"])
    ids = list(b"a mixture of experts")
    plain, told = Session(before)(feed(ids)), Session(after)(feed(ids))
    for name, value in plain.items():
        assert np.array_equal(value, told[name]), name
    for name in names:
        assert told[name].shape == (len(ids), SHAPE.active_experts)
        assert all(len(set(row)) == SHAPE.active_experts for row in told[name].tolist())


@pytest.mark.parametrize(
    "config", [{}, {"num_local_experts": 5}, {"num_local_experts": 5, "num_experts_per_tok": 3}]
)
def test_a_graph_without_such_routers_stays_as_it_is(mixture, config):
    model = onnx.load(str(mixture / "model.onnx"))
    outputs = len(model.graph.output)
    assert routers.expose(model, config) == (0, [])
    assert len(model.graph.output) == outputs


def counted(running) -> dict[tuple[str, str], int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{running.metrics}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return {
        (sample.labels["layer"], sample.labels["expert"]): int(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "preamar_model_expert_tokens_total" and sample.labels["model"] == "moe"
    }


def test_a_served_mixture_counts_each_token_that_it_read_in_each_layer(mixture, served, tmp_path):
    done = build_here({"name": "moe", "source": str(mixture), "task": "Generate"}, tmp_path / "m")
    assert done.code == 0, done.log
    served.invite(tmp_path / "m", "moe")
    prompt, most = "a mixture of experts", 12
    wish = {"prompt": prompt, "max_tokens": most, "temperature": 0}
    last = list(served.stream("moe", **wish))[-1]
    assert last["OUTPUT_TOKENS"] == most
    read = len(prompt) + most - 1  # the last token was never read
    deadline = time.monotonic() + 20
    found: dict = {}
    while sum(found.values()) < SHAPE.layers * SHAPE.active_experts * read:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
        found = counted(served)
    session = Session(exposed(mixture))
    ids = list(prompt.encode())
    for _ in range(most - 1):
        ids.append(int(session(feed(ids), ["logits"])["logits"][0, -1].argmax()))
    told = session(feed(ids))
    wanted = {
        (str(layer), str(expert)): int((told[f"preamar_experts.{layer}"] == expert).sum())
        for layer in range(SHAPE.layers)
        for expert in range(SHAPE.experts)
    }
    assert found == {key: value for key, value in wanted.items() if value}


def exposed(mixture: Path) -> onnx.ModelProto:
    model = onnx.load(str(mixture / "model.onnx"))
    routers.expose(model, json.loads((mixture / "config.json").read_text()))
    return model


def test_many_series_become_one_for_each_expert():
    told = []
    routing = Routing(MOST_SERIES, 2, lambda *words: told.append(words))
    routing.saw([np.array([[0, 1]])] * MOST_SERIES)
    routing.flush()
    routing.flush()
    assert told == [("all", 0, MOST_SERIES), ("all", 1, MOST_SERIES)]
