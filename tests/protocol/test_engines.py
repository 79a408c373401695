"""Is an engine one row? Each format has one, what must be written beside it is there, and a row that
is made up is served, refused, scraped and billed by like the others. Holds: protocol/engines.py,
protocol/images.py, core/serving/model/images.py, core/serving/model/limits.py."""

import argparse
from pathlib import Path

import pytest

from preamar import main
from preamar.api.models import Format
from preamar.core.serving.model.images import image_of
from preamar.core.serving.model.limits import UNSERVED, unserved
from preamar.core.settings import Settings
from preamar.demand.triton import read
from preamar.gateway.reporting.engine_metrics import Counts, counts_of
from preamar.protocol import engines
from preamar.protocol.engines import ENGINES, ROWS, Gauge, ServingEngine, images
from preamar.protocol.images import flag_of, key_of, value_of, variable_of
from tests.core.builders import a_service

FORMATS = Path(__file__).resolve().parents[2] / "docs/guides/formats.md"
SPLITTING = [row.format for row in ROWS if row.splits and not row.own_code]
MADE_UP = ServingEngine(
    Format.TORCHSCRIPT,
    gpu="triton-made-up",
    joins=True,
    splits=True,
    spreads=lambda split: split.expert == 3,
    load=((Gauge("made_up:waiting"), Gauge("made_up:all", "running")),),
    tokens=("made_up:tokens_total",),
)


def sentence(field):
    return next(row.instead for row in UNSERVED if row.field == field)


def test_each_format_has_one_row():
    assert [row.format for row in ROWS] == [*ENGINES]
    assert set(ENGINES) == set(Format)


def test_the_names_that_users_set_stay():
    told = {name: (flag_of(name), variable_of(name), value_of(name)) for name in images()}
    assert told == {
        "triton": ("--triton-image", "PREAMAR_TRITON_IMAGE", "triton"),
        "triton-gpu": ("--gpu-triton-image", "PREAMAR_GPU_TRITON_IMAGE", "tritonGpu"),
        "triton-vllm": ("--vllm-triton-image", "PREAMAR_VLLM_TRITON_IMAGE", "tritonVllm"),
        "triton-trtllm": ("--trtllm-triton-image", "PREAMAR_TRTLLM_TRITON_IMAGE", "tritonTrtllm"),
        "deepspeed": ("--deepspeed-image", "PREAMAR_DEEPSPEED_IMAGE", "deepspeed"),
        "deepspeed-gpu": ("--gpu-deepspeed-image", "PREAMAR_GPU_DEEPSPEED_IMAGE", "deepspeedGpu"),
    }


@pytest.mark.parametrize("name", images())
def test_an_image_has_a_default_and_reaches_the_settings_by_its_flag(name, monkeypatch):
    kept = []

    async def run(options):
        kept.append(options.settings.images)
        return 0

    monkeypatch.setattr("preamar.shell.startup.run", run)
    assert main.main(["operator", flag_of(name), "x/y:1"]) == 0
    assert kept == [{**Settings().images, name: "x/y:1"}]
    assert Settings().images[name] == f"localhost/preamar/{name}:latest"


def test_the_sentences_name_each_engine_that_can():
    split = a_service(parallelism={"tensor": 4, "nodes": 2}).spec.parallelism
    for row in (ENGINES[each] for each in SPLITTING):
        assert row.format in sentence("parallelism.tensor")
        assert row.format in sentence("parallelism.expert")
        assert (row.format in sentence("parallelism.nodes")) == row.spans(split)


def test_each_format_that_is_served_stands_in_its_guide():
    text = FORMATS.read_text()
    named = {row.format for row in ROWS if f"\n| `{row.format}` |" in text}
    assert named == {row.format for row in ROWS if row.served} - {Format.AUTO}


@pytest.fixture
def made_up(monkeypatch):
    monkeypatch.setitem(engines._BY_FORMAT, MADE_UP.format, MADE_UP)


def served(**more):
    model = {"format": MADE_UP.format.value, "task": "Generate"}
    return a_service(model=model, accelerator={"type": "GPU", "count": 4}, **more)


def test_without_its_row_the_format_is_refused():
    assert "spec.model.format is not supported" in unserved(served())


@pytest.mark.usefixtures("made_up")
def test_a_new_row_has_its_image_and_flag():
    settings = Settings(images={name: f"r/{name}" for name in images()})
    assert image_of(served(), settings) == "r/triton-made-up"
    parser = argparse.ArgumentParser()
    main._operator_flags(parser)
    assert key_of("triton-made-up") in vars(parser.parse_args([]))


@pytest.mark.usefixtures("made_up")
@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({"parallelism": {"tensor": 4, "pipeline": 1, "expert": 3}}, ""),
        ({"parallelism": {"tensor": 4, "expert": 2}}, "parallelism.expert"),
        ({"parallelism": {"tensor": 4, "nodes": 2}}, "parallelism.nodes"),
        ({"runtime": {"instances": 2}}, "runtime.instances"),
        ({"optimize": {"engine": "TensorRT"}}, "optimize.engine"),
    ],
)
def test_a_new_row_is_refused_what_it_cannot_do_alone(wish, field):
    told = unserved(served(**wish))
    assert told.startswith(f"spec.{field} is not supported") if field else not told


@pytest.mark.usefixtures("made_up")
def test_what_a_new_row_tells_of_its_work_is_read():
    text = (
        'made_up:waiting{model="m"} 2\n'
        'made_up:all{model="m",request_type="running"} 5\n'
        'made_up:all{model="m",request_type="finished"} 50\n'
        'made_up:tokens_total{model="m"} 700\n'
    )
    assert read(text)["m"].engine == 7
    assert counts_of(text, "m") == Counts(0, 700)
