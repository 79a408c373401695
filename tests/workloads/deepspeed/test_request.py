"""The order is read as the operator writes it, and refused in words.

Holds: preamar_train/request.py, preamar_train/models/presets.py,
preamar_train/parallel/possible.py, preamar_train/start/deepspeed_config.py
"""

import json

import pytest
from preamar_train.failures import Class, TrainerFailure
from preamar_train.models.presets import PRESETS, describe, shape_of
from preamar_train.parallel.possible import must_be_possible
from preamar_train.request import parse
from preamar_train.start.deepspeed_config import OWNED, OWNED_IN_ZERO, config_of

from tests.workloads.deepspeed.orders import order


def refused(text: str) -> str:
    with pytest.raises(TrainerFailure) as caught:
        parse(text, 2)
    assert caught.value.kind is Class.CONFIG_ERROR
    return caught.value.sentence


def test_the_example_of_the_protocol_is_understood():
    request = parse(json.dumps(order()), 2)
    assert (request.global_batch, request.micro_batch, request.accumulation) == (64, 8, 4)
    assert request.checkpoint.every_steps == 50
    assert request.checkpoint.every_seconds is None
    assert request.export.uri == "pvc://models/gpt"


def test_a_key_of_a_newer_operator_is_no_error():
    assert parse(json.dumps(order(somethingNew={"a": 1})), 2).steps == 300


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch__accumulation": 3}, "64 is not micro 8 x accumulation 3 x 2 data-parallel ranks"),
        ({"parallelism__tensor": 2}, "64 is not micro 8 x accumulation 4 x 1 data-parallel ranks"),
        ({"parallelism__tensor": 4}, "2 ranks cannot be divided into copies of the model"),
        ({"parallelism__expert": 3}, "2 ranks of a stage cannot be divided into groups"),
        ({"parallelism__pipeline": 0}, "pipeline must be a whole number of at least 1"),
        ({"parallelism__zeroStage": 4}, "zeroStage 4 is not one of 0, 1, 2, 3"),
        ({"parallelism__offload": "Optimizer"}, "offload 'Optimizer' is not one of None"),
        ({"steps": 0}, "steps must be a whole number of at least 1"),
        ({"steps": True}, "steps must be a whole number"),
        ({"precision": "INT8"}, "precision 'INT8' is not one of FP32, BF16, FP16"),
        ({"data__sources": []}, "data.sources names no source of text"),
        ({"data__sources": [{"name": "a", "path": "/x", "weight": "-1"}]}, "must be above 0"),
        ({"data__sources": [{"name": "a", "path": "/x", "weight": "many"}]}, "is not a number"),
        ({"data__sources": [{"name": "a", "path": "/x"}] * 2}, "one name twice"),
        ({"checkpoint__path": ""}, "path is missing"),
        ({"checkpoint__everySeconds": -5}, "everySeconds must be a number of seconds above 0"),
        ({"checkpoint__keep": 0}, "keep must be a whole number of at least 1"),
    ],
)
def test_an_impossible_order_is_the_users_error_and_says_which_key(changes, words):
    assert words in refused(json.dumps(order(**changes)))


def test_words_that_are_no_order_are_refused():
    assert "not JSON" in refused("")
    assert "not a JSON object" in refused("[]")


@pytest.mark.parametrize("key", OWNED)
def test_a_key_that_the_planner_owns_is_refused(key):
    request = parse(json.dumps(order(deepspeedConfig={key: {}})), 2)
    with pytest.raises(TrainerFailure, match=f"{key} is set by the planner"):
        config_of(request, shape_of("gpt-tiny", {}), gpu=False)


@pytest.mark.parametrize("key", OWNED_IN_ZERO)
def test_a_key_of_zero_that_the_planner_owns_is_refused(key):
    request = parse(json.dumps(order(deepspeedConfig={"zero_optimization": {key: 1}})), 2)
    with pytest.raises(TrainerFailure, match=f"{key} is set by the planner"):
        config_of(request, shape_of("gpt-tiny", {}), gpu=False)


def test_other_deepspeed_keys_pass_through_and_adam_needs_no_compiler_on_cpu():
    user = {
        "gradient_clipping": 0.5,
        "zero_optimization": {"reduce_bucket_size": 1000},
        "optimizer": {"type": "Adam", "params": {"lr": 1}},
    }
    request = parse(json.dumps(order(deepspeedConfig=user)), 2)
    config = config_of(request, shape_of("gpt-tiny", {}), gpu=False)
    assert config["gradient_clipping"] == 0.5
    assert config["zero_optimization"] == {"reduce_bucket_size": 1000, "stage": 1}
    assert config["optimizer"] == {"type": "Adam", "params": {"lr": 1, "torch_adam": True}}
    assert config["train_batch_size"] == 64
    assert config["bf16"] == {"enabled": True}
    on_gpu = config_of(request, shape_of("gpt-tiny", {}), gpu=True)
    assert "torch_adam" not in on_gpu["optimizer"]["params"]


def test_the_tiny_model_has_one_to_three_million_weights():
    assert 1e6 <= PRESETS["gpt-tiny"].parameters() <= 3e6


@pytest.mark.parametrize(
    ("preset", "parameters", "words"),
    [
        ("gpt-huge", {}, "model.preset 'gpt-huge' is not one of gpt-tiny"),
        ("gpt-tiny", {"hiden": 1}, "model.parameters.hiden is not one of"),
        ("gpt-tiny", {"hidden": 130}, "cannot be divided among 4 heads"),
        ("gpt-tiny", {"hidden": 100}, "must be even"),
        ("gpt-tiny", {"kvHeads": 3}, "cannot share 3 key-value heads"),
        ("gpt-tiny", {"layers": 0}, "whole number from 1 to 256"),
        ("gpt-tiny", {"layers": "4"}, "whole number from 1 to 256"),
        ("gpt-tiny", {"learningRate": "fast"}, "must be a number"),
        ("gpt-tiny", {"learningRate": 0}, "must be above 0"),
        ("gpt-tiny", {"tieEmbeddings": 1}, "must be true or false"),
        ("moe-tiny", {"experts": 1}, "cannot go through 2 of 1 experts"),
    ],
)
def test_an_impossible_shape_is_refused_in_words(preset, parameters, words):
    with pytest.raises(TrainerFailure) as caught:
        shape_of(preset, parameters)
    assert caught.value.kind is Class.CONFIG_ERROR
    assert words in caught.value.sentence


@pytest.mark.parametrize(
    ("preset", "split", "words"),
    [
        ("gpt-tiny", {"pipeline": 2, "zeroStage": 2}, "needs parallelism.zeroStage 0 or 1"),
        ("gpt-tiny", {"pipeline": 8}, "4 layers cannot fill 8 stages"),
        ("gpt-tiny", {"tensor": 4}, "does not divide the model's kv-heads (2)"),
        ("gpt-tiny", {"expert": 2}, "does not divide the model's 0 experts"),
        ("moe-tiny", {"expert": 16}, "does not divide the model's 8 experts"),
        ("moe-tiny", {"expert": 2, "zeroStage": 3}, "needs parallelism.zeroStage 1 or 2"),
        ("moe-tiny", {"tensor": 2}, "needs parallelism.tensor and parallelism.pipeline 1"),
    ],
)
def test_a_model_is_not_split_where_it_has_no_seam(preset, split, words):
    ranks = split.get("tensor", 1) * split.get("pipeline", 1) * split.get("expert", 1)
    copies = split.get("expert", 1)
    batch = {"global": 8 * copies, "micro": 8, "accumulation": 1}
    changes = {f"parallelism__{key}": value for key, value in split.items()}
    request = parse(json.dumps(order(batch=batch, **changes)), ranks)
    with pytest.raises(TrainerFailure) as caught:
        must_be_possible(request, shape_of(preset, {}))
    assert caught.value.kind is Class.CONFIG_ERROR
    assert words in caught.value.sentence


def test_dense_shapes_are_described_as_before_there_were_experts():
    assert not {"experts", "activeExperts", "balance"} & describe(shape_of("gpt-tiny", {})).keys()
    assert describe(shape_of("moe-tiny", {}))["experts"] == 8


def test_a_preset_can_be_changed_by_its_parameters():
    shape = shape_of("gpt-tiny", {"layers": 2, "tieEmbeddings": False, "learningRate": "1e-4"})
    assert (shape.layers, shape.tie_embeddings, shape.learning_rate) == (2, False, 1e-4)
