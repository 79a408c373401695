"""Is every configuration of a repository one that Triton reads? Parsed by Triton's own protobuf schema;
a field that it does not know is an error, and so are files that a configuration names and are not there.
"""

from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig


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
        for step in told.ensemble_scheduling.step:
            assert step.model_name in found, f"{name} calls {step.model_name}, which is not there"
    return found
