"""What the operator orders: a model that may lie elsewhere, held to its digest, and one artefact kept.

Holds: preamar_model/files/publish.py, preamar_model/optimize/command.py
"""

import hashlib
import time
from pathlib import Path

import networks
import pytest
from networks import optimize
from preamar_model.build import command as builds
from preamar_model.files import publish
from preamar_model.optimize import measure
from running import build_here

from tests.workloads.triton.remote.servers import Web, certificate


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    """Speeds of toy networks are of no interest."""
    monkeypatch.setattr(measure, "SECONDS", 0.02)
    monkeypatch.setattr(measure.compare, "__defaults__", (0.02,))


@pytest.fixture
def web(tmp_path, monkeypatch):
    (tmp_path / "tls").mkdir()
    made = Web(certificate(tmp_path / "tls"))
    monkeypatch.setattr(builds, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(builds, "ROOTS", tmp_path / "tls/ca.crt")
    yield made
    made.close()


def order(tmp_path: Path, **more: object) -> dict:
    source = tmp_path / "model.onnx"
    if not source.exists():
        networks.layered(source)
    base = {"name": "m", "precision": "INT8", "tolerance": "0.05", "source": str(source)}
    return base | {"target": str(tmp_path / "out/m-0123456789")} | more


def test_a_model_that_lies_elsewhere_is_fetched_and_optimised(web, tmp_path):
    wish = order(tmp_path)
    web.files["/m.onnx"] = Path(wish.pop("source")).read_bytes()
    wish |= {"uri": f"https://{web.host}/m.onnx", "hosts": [web.host]}
    done = optimize(wish, tmp_path / "message")
    assert done.code == 0, done.log
    assert (tmp_path / "out/m-0123456789/model.onnx").exists()
    done = optimize(wish, tmp_path / "message")
    assert done.told["cached"] is True
    assert len(web.gets()) == 1


def test_a_model_with_another_digest_is_not_optimised(tmp_path):
    wish = order(tmp_path)
    right = "sha256:" + hashlib.sha256(Path(wish["source"]).read_bytes()).hexdigest()
    done = optimize(wish | {"digest": "sha256:" + "0" * 64}, tmp_path / "message")
    assert (done.code, done.told["reason"]) == (64, "DigestMismatch")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
    assert optimize(wish | {"digest": right}, tmp_path / "message").code == 0


def test_earlier_artefacts_of_the_same_service_go_and_nobody_elses(tmp_path):
    out = tmp_path / "out"
    gone, kept = (
        ["m-aaaaaaaaaa", "m-bbbbbbbbbb"],
        ["m-cccccccccc", "m-x-aaaaaaaaaa", "m-short", "n-aaaaaaaaaa"],
    )
    for name in (*gone, *kept):
        (out / name).mkdir(parents=True)
    done = optimize(order(tmp_path, kept=["m-cccccccccc"]), tmp_path / "message")
    assert done.code == 0, done.log
    assert sorted(p.name for p in out.iterdir()) == sorted([*kept, "m-0123456789"])


def test_a_job_whose_wish_is_past_removes_nothing_that_was_made_or_found_again_since(tmp_path):
    one, two = (f"m-{letter * 10}" for letter in "ab")
    told = order(tmp_path, target=str(tmp_path / "out" / one))
    assert optimize(told, tmp_path / "message").code == 0
    since = publish.moment(tmp_path / "out" / two)
    time.sleep(0.05)
    publish.forget_others(tmp_path / "out" / two, (), since - 60)
    assert (tmp_path / "out" / one).is_dir()
    again = optimize(told, tmp_path / "message")  # finds it, and says so in the file's time
    assert again.told["cached"] is True
    publish.forget_others(tmp_path / "out" / two, (), since)
    assert (tmp_path / "out" / one).is_dir()
    publish.forget_others(tmp_path / "out" / two, (), publish.moment(tmp_path / "x") + 60)
    assert not (tmp_path / "out" / one).exists()
    assert [p.name for p in (tmp_path / "out").iterdir()] == []


def test_a_replica_whose_artefact_is_gone_says_so(tmp_path):
    wish = {"name": "m", "source": str(tmp_path / "out/m-0123456789"), "artefact": True}
    done = build_here(wish, tmp_path / "models")
    assert (done.code, done.told["reason"]) == (64, "ArtefactMissing")
    assert optimize(order(tmp_path), tmp_path / "message").code == 0
    assert build_here(wish, tmp_path / "models").code == 0
