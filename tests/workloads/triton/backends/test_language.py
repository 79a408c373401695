"""Language models in vLLM and in TensorRT-LLM: the repository that is written, and what callers hear from
the real Triton. Both need a GPU; stand-ins with the names that we use of them answer in the real Triton.

Holds: preamar_model/backends/env_dump.py, preamar_model/backends/llm.py,
preamar_model/backends/ranks.py, preamar_model/backends/trtllm.py, preamar_model/backends/vllm.py,
preamar_model/build/language.py, preamar_model/build/trtllm.py, preamar_model/build/vllm.py
"""

import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import schema
import tritonclient.grpc as grpcclient
from running import PACKAGES
from running import build_here as build
from tritonclient.grpc.model_config_pb2 import ModelInstanceGroup

STAND_IN = Path(__file__).parents[1] / "stand_ins"
ENGINES = ("VLLM", "TensorRTLLM")
TRT = {"format": "TensorRTLLM"}
MIXTURE = {"num_local_experts": 8}


def weights(folder: Path, **config: object) -> Path:
    folder.mkdir(exist_ok=True)
    said = {"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 64}
    (folder / "config.json").write_text(json.dumps(said | config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def order(source: Path, **more: object) -> dict:
    told = {"name": "llm", "source": str(source), "format": "VLLM", "task": "Generate"}
    return told | {"accelerator": "GPU", "batching": {"maxBatchSize": 4}} | more


def started(place: Path, **more: object):
    """The model server, with stand-ins in the place of engines and of MPI."""
    from running import serve

    done = build(order(weights(place / "weights"), **more), place / "models")
    assert done.code == 0, done.log
    return serve(
        place / "models",
        place,
        PYTHONPATH=f"{PACKAGES}:{STAND_IN}",
        PATH=f"{STAND_IN / 'bin'}:{os.environ['PATH']}",
        STAND_IN_MPIRUN=place / "mpirun.pid",
    )


@pytest.fixture(scope="module", params=ENGINES)
def llm(request, tmp_path_factory):
    split = {"tensor": 2, "pipeline": 2}
    with started(
        tmp_path_factory.mktemp("llm"), format=request.param, parallelism=split
    ) as running:
        running.wait(["llm"])
        yield running


def text(events: list[dict]) -> str:
    return "".join(event["TEXT"] for event in events)


def test_vllm_is_told_what_was_ordered(tmp_path):
    split = {"tensor": 4, "pipeline": 2}
    done = build(order(weights(tmp_path / "w"), parallelism=split), tmp_path / "r")
    assert (done.code, done.told.get("format")) == (0, "VLLM"), done.log
    found = schema.configurations(tmp_path / "r")
    assert (found["llm"].backend, found["llm"].max_batch_size) == ("python", 0)
    assert found["llm"].model_transaction_policy.decoupled
    # KIND_GPU would start an engine on each GPU, and show it that one alone.
    assert found["llm"].instance_group[0].kind == ModelInstanceGroup.KIND_CPU
    assert not found["llm"].HasField("dynamic_batching")
    assert json.loads((tmp_path / "r/llm/1/model.json").read_text()) == {
        "model": str(tmp_path / "r/llm/1/weights"),
        "load_format": "safetensors",
        "tensor_parallel_size": 4,
        "pipeline_parallel_size": 2,
        "max_num_seqs": 4,
        "max_model_len": 64,
        "trust_remote_code": False,
    }
    told = {name: value.string_value for name, value in found["llm"].parameters.items()}
    assert (told["max_context"], told["chat_template"]) == ("64", "{{ messages }}")


def test_tensorrt_llm_is_told_what_was_ordered(tmp_path):
    source = weights(tmp_path / "w")
    (source / "trtllm.json").write_text('{"free_gpu_memory_fraction": 0.5, "dtype": "float16"}')
    split = {"tensor": 4, "pipeline": 2}
    done = build(order(source, format="TensorRTLLM", parallelism=split), tmp_path / "r")
    assert (done.code, done.told.get("format")) == (0, "TensorRTLLM"), done.log
    assert json.loads((tmp_path / "r/llm/1/model.json").read_text()) == {
        "model": str(tmp_path / "r/llm/1/weights"),
        "tensor_parallel_size": 4,
        "pipeline_parallel_size": 2,
        "max_batch_size": 4,
        "max_seq_len": 64,
        "enable_chunked_prefill": True,
        "trust_remote_code": False,
        "dtype": "float16",
        "kv_cache_config": {"free_gpu_memory_fraction": 0.5},
    }
    assert "backends.trtllm" in (tmp_path / "r/llm/1/model.py").read_text()


def test_experts_are_spread_as_each_engine_says_it(tmp_path):
    source = weights(tmp_path / "w", **MIXTURE)
    told = {}
    for name, expert in (("VLLM", 4), ("TensorRTLLM", 2)):
        split = {"tensor": 4, "pipeline": 1, "expert": expert}
        done = build(order(source, format=name, parallelism=split), tmp_path / name)
        assert done.code == 0, done.log
        told[name] = json.loads((tmp_path / name / "llm/1/model.json").read_text())
    assert told["VLLM"]["enable_expert_parallel"] is True
    assert told["TensorRTLLM"]["moe_expert_parallel_size"] == 2


def test_code_and_pickles_beside_the_weights_stay_behind(tmp_path):
    source = weights(tmp_path / "w")
    (source / "modeling_x.py").write_text("raise SystemExit")
    (source / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    kept = {}
    for trust in ("Data", "Code"):
        assert build(order(source, trust=trust), tmp_path / trust).code == 0
        folder = tmp_path / trust / "llm/1/weights"
        kept[trust] = {file.name for file in folder.iterdir()}
    assert kept["Code"] - kept["Data"] == {"modeling_x.py"}
    assert "pytorch_model.bin" not in kept["Code"]


@pytest.mark.parametrize(
    ("change", "config", "reason", "said"),
    [
        ({}, {"auto_map": {"AutoModel": "x.Y"}}, "CodeNotTrusted", "auto_map"),
        ({}, {"architectures": []}, "ModelInvalid", "architectures"),
        ({}, {"max_position_embeddings": None}, "ModelInvalid", "max_model_len"),
        ({"accelerator": "CPU"}, {}, "FormatUnsupported", "GPU"),
        ({"instances": 2}, {}, "FormatUnsupported", "instances"),
        ({"task": "Embed"}, {}, "FormatUnsupported", "Generate"),
        ({"format": "Auto"}, {}, "FormatUnsupported", "VLLM"),
        (TRT | {"accelerator": "CPU"}, {}, "FormatUnsupported", "TensorRT-LLM"),
        (TRT | {"instances": 2}, {}, "FormatUnsupported", "One TensorRT-LLM"),
        ({"parallelism": {"tensor": 2, "expert": 2}}, {}, "FormatUnsupported", "names no experts"),
        ({"parallelism": {"tensor": 4, "expert": 2}}, MIXTURE, "FormatUnsupported", "tensor (4)"),
        (
            TRT | {"parallelism": {"tensor": 4, "expert": 3}},
            {"num_experts": 9},
            "FormatUnsupported",
            "tensor (4)",
        ),
        (
            TRT | {"parallelism": {"tensor": 3, "expert": 3}},
            MIXTURE,
            "FormatUnsupported",
            "divisor of 8",
        ),
        (TRT, {"max_position_embeddings": None}, "ModelInvalid", "max_seq_len in trtllm.json"),
    ],
)
def test_what_an_engine_does_not_serve_is_refused(tmp_path, change, config, reason, said):
    done = build(order(weights(tmp_path / "w", **config), **change), tmp_path / "r")
    assert (done.code, done.told["reason"], said in done.told["message"]) == (64, reason, True)


def test_engine_arguments_are_taken_from_a_file_and_others_refused(tmp_path):
    source = weights(tmp_path / "w", max_position_embeddings=None)
    (source / "vllm.json").write_text('{"max_model_len": 32, "gpu_memory_utilization": 0.5}')
    assert build(order(source), tmp_path / "r").code == 0
    found = json.loads((tmp_path / "r/llm/1/model.json").read_text())
    assert (found["max_model_len"], found["gpu_memory_utilization"]) == (32, 0.5)
    for wrong in (
        {"worker_cls": "x.Y"},
        {"dtype": 3},
        {"gpu_memory_utilization": 2},
        {"max_num_batched_tokens": 0},
        [],
    ):
        (source / "vllm.json").write_text(json.dumps(wrong))
        done = build(order(source), tmp_path / "wrong")
        assert (done.code, done.told["reason"]) == (64, "ModelInvalid"), wrong
        assert "vllm.json" in done.told["message"]


def test_passes_of_tensorrt_llm_are_whole_blocks(tmp_path):
    source = weights(tmp_path / "w")
    for number, code in ((4096, 0), (1000, 64)):
        (source / "trtllm.json").write_text(json.dumps({"max_num_tokens": number}))
        assert build(order(source, **TRT), tmp_path / str(number)).code == code


def test_a_stream_comes_token_by_token_with_its_counts(llm):
    events = list(llm.stream("llm", prompt="a b c", max_tokens=5, temperature=0))
    assert text(events) == " a b c a b"
    assert [event["OUTPUT_TOKENS"] for event in events] == [1, 2, 3, 4, 5]
    assert {event["INPUT_TOKENS"] for event in events} == {3}
    assert [event["FINISH_REASON"] for event in events] == ["", "", "", "", "length"]


def test_a_stream_without_a_bound_ends_at_the_context_and_not_at_the_engines_default(llm):
    events = list(llm.stream("llm", prompt="a b", temperature=0))
    assert (events[-1]["OUTPUT_TOKENS"], events[-1]["FINISH_REASON"]) == (62, "length")


def test_a_stop_ends_it(llm):
    events = list(llm.stream("llm", prompt="a b c", max_tokens=9, stop=[" c"]))
    assert (text(events), events[-1]["FINISH_REASON"]) == (" a b", "stop")


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"prompt": "a " * 70}, "context_length_exceeded"),
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens"),
        ({"prompt": "break"}, "the engine is dead"),
    ],
)
def test_what_fails_is_told_in_a_sentence(llm, wish, said):
    stream = llm.stream("llm", **wish)
    lines = []
    while not any('"error"' in line for line in lines):
        lines.append(stream.answer.readline().decode())
        assert len(lines) < 20
    assert said in json.loads(lines[-1].removeprefix("data:"))["error"]
    stream.close()


def test_more_callers_than_streams_all_get_their_own_text(llm):
    heard = {}

    def ask(n: int) -> None:
        heard[n] = text(list(llm.stream("llm", prompt=f"n{n}", max_tokens=20)))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert heard == {n: f" n{n}" * 20 for n in range(12)}


def test_tokens_are_counted_at_the_model(llm):
    from urllib.request import urlopen

    def counted() -> dict[str, float]:
        with urlopen(f"http://127.0.0.1:{llm.metrics}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        found = [line for line in lines if line.startswith("preamar_model_tokens_total{")]
        return {k: float(li.split()[-1]) for li in found for k in ("input", "output") if k in li}

    before = counted()
    list(llm.stream("llm", prompt="a b c", max_tokens=7))
    after = counted()
    assert {k: after[k] - before[k] for k in after} == {"input": 3, "output": 7}


def aborted(llm, before: int) -> bool:
    deadline = time.monotonic() + 10
    while llm.log.read_text().count("aborted") <= before:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def test_a_caller_who_leaves_is_taken_out_of_the_engine(llm):
    before = llm.log.read_text().count("aborted")
    stream = llm.stream("llm", prompt="slow a b", max_tokens=60)
    next(iter(stream))
    stream.close()
    assert aborted(llm, before)


def test_a_grpc_caller_is_missed_also_while_nothing_comes(llm):
    before = llm.log.read_text().count("aborted")
    client = grpcclient.InferenceServerClient(f"127.0.0.1:{llm.grpc}")
    client.start_stream(lambda result, error: None)
    tensor = grpcclient.InferInput("REQUEST", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([b'{"prompt": "hang"}'], dtype=object))
    client.async_stream_infer("llm", [tensor])
    time.sleep(0.5)
    client.stop_stream(cancel_requests=True)
    client.close()
    assert aborted(llm, before)


def test_a_stop_over_several_tokens_is_never_half_told(tmp_path):
    with started(tmp_path, **TRT) as running:
        running.wait(["llm"])
        events = list(running.stream("llm", prompt="a b c d", max_tokens=9, stop=["b c"]))
        assert (text(events), events[-1]["FINISH_REASON"]) == (" a ", "stop")
        assert events[-1]["OUTPUT_TOKENS"] == 3
        assert aborted(running, 0)  # or it would go on for nobody


def test_a_dead_engine_is_not_left_to_answer_with_errors(tmp_path):
    with started(tmp_path, format="VLLM") as running:
        running.wait(["llm"])
        running.stream("llm", prompt="die").close()
        assert running.process.wait(15) != 0
        assert running.message.read_text() == "vLLM is dead, so the model begins anew."


def test_when_a_rank_dies_the_server_ends_though_nothing_was_asked(tmp_path):
    with started(tmp_path, **TRT) as running:
        running.wait(["llm"])
        os.kill(int((tmp_path / "mpirun.pid").read_text()), signal.SIGKILL)
        assert running.process.wait(15) != 0
        assert "TensorRT-LLM is dead" in running.message.read_text()


def test_ranks_that_do_not_come_are_told_of(tmp_path):
    place = tmp_path / "x"
    place.mkdir()
    (place / "mpirun").write_text("#!/bin/sh\nexit 3\n")
    (place / "mpirun").chmod(0o755)
    done = build(order(weights(tmp_path / "weights"), **TRT), tmp_path / "models")
    assert done.code == 0, done.log
    from running import serve

    path = f"{place}:{os.environ['PATH']}"
    more = f"{PACKAGES}:{STAND_IN}"
    with serve(tmp_path / "models", tmp_path, PYTHONPATH=more, PATH=path) as running:
        assert running.process.wait(30) != 0
        assert "ranks of TensorRT-LLM ended with exit code 3" in running.message.read_text()
