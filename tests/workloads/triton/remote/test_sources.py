"""Models come from buckets, web servers and hubs, whole and as they are there, and are kept.

Holds: preamar_model/remote/attempts.py, preamar_model/remote/cache.py,
preamar_model/remote/download.py, preamar_model/remote/fetch.py, preamar_model/remote/hub.py,
preamar_model/remote/listing.py
"""

import hashlib
import threading

import numpy as np
import pytest
from preamar_model.remote import download
from preamar_model.remote.attempts import SourceUnreachable

from tests.workloads.triton.remote.conftest import secret

DATA = np.random.default_rng(0).bytes(300_000)


def test_a_prefix_of_a_bucket_is_a_folder_and_an_object_is_a_file(bucket, fetch):
    bucket.put("m/model.onnx", DATA)
    bucket.put("m/labels/a.txt", b"a")
    bucket.put("m2/other.onnx", b"no")
    uri = f"s3://{bucket.name}/m"
    found = fetch(uri, bucket.host, secret=bucket.secret)
    assert found == {"model.onnx": DATA, "labels/a.txt": b"a"}
    one = fetch(f"{uri}/model.onnx", bucket.host, secret=bucket.secret)
    assert one == {"model.onnx": DATA}


def test_one_file_of_a_web_server_comes_over_tls(secure, fetch):
    secure.files["/models/m.onnx"] = DATA
    assert fetch(f"https://{secure.host}/models/m.onnx", secure.host) == {"m.onnx": DATA}


def test_a_hub_gives_the_files_of_one_commit_and_not_each_format_of_them(web, fetch, tmp_path):
    whole = {"sha256": hashlib.sha256(DATA).hexdigest(), "size": len(DATA)}
    files = {
        "config.json": b"{}",
        "model.safetensors": DATA,
        "pytorch_model.bin": b"pickle",
        "onnx/model.onnx": b"graph",
        "onnx/model_O2.onnx": b"variant",
        "openvino/model.xml": b"x",
        ".gitattributes": b"",
    }
    web.hub("owner/name", files, **{"model.safetensors": {"lfs": whole}})
    keys = secret(tmp_path / "hub", HF_ENDPOINT=f"http://{web.host}", HF_TOKEN="hf_secret")
    found = fetch("hf://owner/name", web.host, secret=keys)
    assert sorted(found) == ["config.json", "model.safetensors", "onnx/model.onnx"]
    assert found["model.safetensors"] == DATA
    assert {h.get("authorization") for _, _, h in web.asked} == {"Bearer hf_secret"}
    below = fetch("hf://owner/name@main/onnx", web.host, secret=keys)
    assert below == {"model.onnx": b"graph"}


def test_a_token_does_not_follow_to_another_host(secure, web, fetch, tmp_path, pair):
    from tests.workloads.triton.remote.servers import Web

    store = Web(pair)
    secure.hub("o/n", {"model.onnx": DATA})
    (path,) = [p for p in secure.files if "resolve" in p]
    secure.moved[path] = f"https://127.0.0.1:{store.port}/blob"
    store.files["/blob"] = DATA
    keys = secret(tmp_path / "hub", HF_ENDPOINT=f"https://{secure.host}", HF_TOKEN="hf_secret")
    allowed = (secure.host, f"127.0.0.1:{store.port}")
    assert fetch("hf://o/n", *allowed, secret=keys) == {"model.onnx": DATA}
    assert [h.get("authorization") for _, _, h in store.asked] == [None]
    store.close()


def test_what_is_in_the_cache_is_not_fetched_again_until_it_changes(secure, fetch):
    uri = f"https://{secure.host}/m.onnx"
    secure.files["/m.onnx"] = DATA
    fetch(uri, secure.host)
    fetch(uri, secure.host)
    assert len(secure.gets()) == 1
    secure.files["/m.onnx"] = b"new"
    assert fetch(uri, secure.host) == {"m.onnx": b"new"}
    assert len(secure.gets()) == 2


def test_a_place_that_is_away_serves_what_it_led_to_last(secure, fetch):
    uri = f"https://{secure.host}/m.onnx"
    secure.files["/m.onnx"] = DATA
    fetch(uri, secure.host)
    secure.close()
    assert fetch(uri, secure.host) == {"m.onnx": DATA}
    with pytest.raises(SourceUnreachable):
        fetch(f"https://{secure.host}/other.onnx", secure.host)


def test_an_answer_that_ends_early_is_gone_on_from(secure, fetch, monkeypatch):
    monkeypatch.setattr(download, "PIECE_BYTES", 10_000)
    secure.files["/m.onnx"] = DATA
    secure.cut = [100_000, 50_000]
    assert fetch(f"https://{secure.host}/m.onnx", secure.host) == {"m.onnx": DATA}
    ranges = [h.get("range") for m, _, h in secure.asked if m == "GET"]
    assert ranges[0] is None
    assert all(r is not None for r in ranges[1:])
    assert len(ranges) >= 3


def test_a_fetch_that_was_ended_is_gone_on_from_by_the_next(secure, fetch, monkeypatch):
    monkeypatch.setattr(download, "PIECE_BYTES", 10_000)
    monkeypatch.setattr("preamar_storage.attempts.PAUSES", ())
    secure.files["/m.onnx"] = DATA
    secure.cut = [20_000] * 9  # the library itself goes on a few times
    uri = f"https://{secure.host}/m.onnx"
    with pytest.raises(SourceUnreachable):
        fetch(uri, secure.host)
    secure.cut = []
    assert fetch(uri, secure.host) == {"m.onnx": DATA}
    last = [h for m, _, h in secure.asked if m == "GET"][-1]
    assert last["range"].startswith("bytes=")


def test_a_file_that_is_replaced_while_it_is_fetched_is_never_mixed(secure, refused, monkeypatch):
    monkeypatch.setattr(download, "PIECE_BYTES", 10_000)
    secure.files["/m.onnx"] = b"a" * 300_000
    secure.cut = [100_000]

    def replace(_: str) -> None:
        if len(secure.gets()) >= 1:
            secure.files["/m.onnx"] = b"b" * 200_000

    secure.on_get = replace
    reason, message = refused(f"https://{secure.host}/m.onnx", secure.host)
    assert reason == "ModelInvalid"
    assert "changed while it was fetched" in message


def test_pods_that_want_the_same_model_fetch_it_once(secure, fetch):
    secure.files["/m.onnx"] = DATA
    found = []
    uri = f"https://{secure.host}/m.onnx"
    pods = [threading.Thread(target=lambda: found.append(fetch(uri, secure.host))) for _ in "abc"]
    for pod in pods:
        pod.start()
    for pod in pods:
        pod.join(30)
    assert found == [{"m.onnx": DATA}] * 3
    assert len(secure.gets()) == 1


def test_what_was_used_longest_ago_makes_room(secure, fetch, tmp_path):
    for name in "abc":
        secure.files[f"/{name}.onnx"] = name.encode() * 1000
    import os
    import time

    def get(name: str) -> None:
        fetch(f"https://{secure.host}/{name}.onnx", secure.host, most=2500)

    get("a")
    get("b")
    for number, folder in enumerate(sorted(_models(tmp_path), key=lambda f: f.stat().st_ctime)):
        os.utime(folder, (number, number))
    get("a")  # used again: b is the oldest now
    time.sleep(0.01)
    get("c")
    assert sorted(next(f.glob("*.onnx")).name for f in _models(tmp_path)) == ["a.onnx", "c.onnx"]


def _models(tmp_path):
    return [f for f in (tmp_path / "cache").iterdir() if not f.name.startswith(".")]


def test_a_model_that_is_read_does_not_make_room(secure, tmp_path, pair):
    from preamar_model.remote.cache import NoRoom
    from preamar_model.remote.fetch import FetchSpec, fetched

    for name in "ab":
        secure.files[f"/{name}.onnx"] = name.encode() * 1000

    def wish(name: str) -> FetchSpec:
        uri = f"https://{secure.host}/{name}.onnx"
        return FetchSpec(
            uri, tmp_path / "cache", 1500, None, (secure.host,), pair[0].with_name("ca.crt")
        )

    with fetched(wish("a")) as path:
        with pytest.raises(NoRoom), fetched(wish("b")):
            pass
        assert path.read_bytes() == b"a" * 1000
    with fetched(wish("b")) as path:
        assert path.read_bytes() == b"b" * 1000


def test_a_model_larger_than_the_cache_is_refused_before_it_is_fetched(secure, refused):
    secure.files["/m.onnx"] = DATA
    reason, message = refused(f"https://{secure.host}/m.onnx", secure.host, most=1000)
    assert reason == "ModelInvalid"
    assert "models.cache.gib" in message
    assert secure.gets() == []


def test_what_is_not_there_or_not_allowed_is_told_at_once(secure, bucket, web, refused, tmp_path):
    assert refused(f"https://{secure.host}/none.onnx", secure.host)[0] == "ModelNotFound"
    empty = refused(f"s3://{bucket.name}/none", bucket.host, secret=bucket.secret)
    assert empty[0] == "ModelNotFound"
    secure.files["/m.onnx"], secure.needs = DATA, "Bearer right"
    reason, message = refused(f"https://{secure.host}/m.onnx", secure.host)
    assert reason == "SourceDenied"
    assert "spec.model.secretName" in message
    keys = secret(tmp_path / "hub", HF_ENDPOINT=f"http://{web.host}")
    assert refused("hf://owner/none", web.host, secret=keys)[0] == "ModelNotFound"
    strange = secret(
        tmp_path / "strange", AWS_CONTAINER_CREDENTIALS_FULL_URI="http://169.254.170.2/x"
    )
    reason, message = refused("s3://bucket/m", secret=strange)
    assert "aws_container_credentials_full_uri" in message
