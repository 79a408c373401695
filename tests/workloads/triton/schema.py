"""Is every configuration of a repository one that Triton reads? Parsed by Triton's own protobuf schema;
a field that it does not know is an error, and so are files that a configuration names and are not there.
"""

from math import prod
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as words_of
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelWarmup

SIZES = {
    words_of.TYPE_BOOL: 1, words_of.TYPE_INT32: 4, words_of.TYPE_INT64: 8, words_of.TYPE_FP32: 4,
}  # fmt: skip
"""Bytes of a number, of the kinds that masks have."""


def configuration(folder: Path) -> ModelConfig:
    return text_format.Parse((folder / "config.pbtxt").read_text(), ModelConfig())


def configurations(models: Path) -> dict[str, ModelConfig]:
    found = {folder.name: configuration(folder) for folder in models.iterdir() if folder.is_dir()}
    assert found, f"there is no model in {models}"
    for name, told in found.items():
        assert told.name == name
        assert told.backend or told.platform, f"{name} says nothing of its backend"
        assert (models / name / "1").is_dir()
        files = [told.default_model_filename, *told.cc_model_filenames.values()]
        for file in filter(None, files):
            assert (models / name / "1" / file).exists(), f"{name} names {file}, which is not there"
        for call in told.model_warmup:
            warmed(models / name, told, call)
        for step in told.ensemble_scheduling.step:
            assert step.model_name in found, f"{name} calls {step.model_name}, which is not there"
    return found


def warmed(folder: Path, told: ModelConfig, call: ModelWarmup) -> None:
    """A call that Triton makes by itself must be one that it takes."""
    assert 1 <= call.batch_size <= max(1, told.max_batch_size)
    wanted = {each.name: each for each in told.input}
    assert set(call.inputs) == set(wanted)
    for name, given in call.inputs.items():
        assert given.data_type == wanted[name].data_type
        assert len(given.dims) == len(wanted[name].dims)
        for size, bound in zip(given.dims, wanted[name].dims, strict=True):
            assert size >= 1
            assert bound in {-1, size}
        if given.WhichOneof("input_data_type") == "input_data_file":
            words = folder / "warmup" / given.input_data_file
            assert words.stat().st_size == prod(given.dims) * SIZES[given.data_type]
        else:
            assert given.zero_data
