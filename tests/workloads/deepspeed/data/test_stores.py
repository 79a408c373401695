"""Objects are read exactly as they were listed, with bounded patience, or refused in words.

Against a real S3 server on loopback (moto), and against a web server that misbehaves on purpose.

Holds: preamar_train/corpus/objects.py, preamar_train/data/local.py, preamar_train/data/stores.py
"""

import hashlib
import threading
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import obstore
import pytest
from moto.server import ThreadedMotoServer
from obstore.store import HTTPStore, S3Store
from preamar_storage import attempts
from preamar_train.corpus import objects
from preamar_train.data import stores
from preamar_train.data.corpus import opened
from preamar_train.data.documents import passages
from preamar_train.data.local import bring, placed
from preamar_train.data.stores import Bucket, open_bucket
from preamar_train.failures import Class, TrainerFailure
from preamar_train.request import DataSource

from tests.workloads.deepspeed.corpora import line, written

KEYS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "us-east-1",
}


@pytest.fixture(scope="module")
def server():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(server, tmp_path, request):
    """A bucket of its own, and a folder as the kubelet mounts a Secret."""
    name = f"b{hashlib.sha256(request.node.name.encode()).hexdigest()[:12]}"
    import boto3

    boto3.client("s3", endpoint_url=server, region_name="us-east-1", aws_access_key_id="t",
                 aws_secret_access_key="t").create_bucket(Bucket=name)  # fmt: skip
    secret = tmp_path / "secret"
    (secret / "..data").mkdir(parents=True)
    for key, value in (KEYS | {"AWS_ENDPOINT_URL": server}).items():
        (secret / key).write_text(value + "\n")
    config = {k.lower(): v for k, v in KEYS.items()} | {"aws_endpoint": server}
    return name, S3Store(name, config=config, client_options={"allow_http": True}), secret


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    monkeypatch.setattr(attempts, "PAUSES", (0.01, 0.02, 0.02, 0.02))


def source(uri, secret):
    return DataSource("books", "", Decimal(1), uri, str(secret))


def refusal(act, kind=Class.DATA_ERROR) -> str:
    with pytest.raises(TrainerFailure) as caught:
        act()
    assert caught.value.kind is kind
    return caught.value.sentence


def test_the_texts_below_a_prefix_come_as_files_and_nothing_else_does(s3, tmp_path):
    bucket, store, secret = s3
    for key, text in {
        "corpus/b.txt": "second",
        "corpus/a/x.jsonl": '{"text": "third"}\n',
        "corpus/a.txt": "first",
        "corpus/.hidden.txt": "no",
        "corpus/picture.png": "no",
        "corpus-other/c.txt": "no",
    }.items():
        obstore.put(store, key, text.encode())
    ours = source(f"s3://{bucket}/corpus", secret)
    (found,) = bring([ours], tmp_path / "scratch")
    assert [each.text for each in passages("books", _path(found))] == ["first", "second", "third"]
    assert placed([ours], tmp_path / "scratch") == (found,)
    (single,) = bring([source(f"s3://{bucket}/corpus/b.txt", secret)], tmp_path / "one")
    assert [each.text for each in passages("books", _path(single))] == ["second"]


def test_objects_are_copied_for_all_workers_once_and_again_when_they_change(s3, tmp_path):
    bucket, store, secret = s3
    ours = source(f"s3://{bucket}/corpus", secret)

    def copied():
        taken = [objects.fetched(str(tmp_path), *each) for each in objects.listed(ours)]
        files = sorted((tmp_path / "books").rglob("[!.]*.txt"))
        return taken, {each.name: (each.read_text(), each.stat().st_ino) for each in files}

    obstore.put(store, "corpus/a.txt", b"first")
    obstore.put(store, "corpus/b.txt", b"second!")
    taken, first = copied()
    assert taken == [5, 7]
    assert {name: text for name, (text, _) in first.items()} == {
        "a.txt": "first",
        "b.txt": "second!",
    }
    assert copied() == (taken, first)  # the same files, not copies of the same text
    obstore.put(store, "corpus/a.txt", b"other")  # as long as before
    (tmp_path / "books/b.txt").write_text("torn")
    taken, then = copied()
    assert taken == [5, 7]
    assert {name: text for name, (text, _) in then.items()} == {
        "a.txt": "other",
        "b.txt": "second!",
    }


def _path(found):
    from pathlib import Path

    return Path(found.path)


def test_a_large_object_comes_in_pieces_and_is_the_same(s3, tmp_path, monkeypatch):
    bucket, store, secret = s3
    monkeypatch.setattr(stores, "PIECE_BYTES", 1000)
    data = np.random.default_rng(0).bytes(10_007)
    obstore.put(store, "x.txt", data)
    opened_bucket = open_bucket(f"s3://{bucket}/x.txt", secret)
    opened_bucket.fetch(opened_bucket.one("x.txt"), tmp_path / "x.txt")
    assert (tmp_path / "x.txt").read_bytes() == data
    assert [each.name for each in tmp_path.iterdir() if each.suffix == ".part"] == []


def test_an_object_that_is_replaced_while_it_is_read_is_never_mixed(s3, tmp_path, monkeypatch):
    bucket, store, secret = s3
    monkeypatch.setattr(stores, "PIECE_BYTES", 1000)
    obstore.put(store, "x.txt", b"a" * 3000)
    opened_bucket = open_bucket(f"s3://{bucket}/x.txt", secret)
    found = opened_bucket.one("x.txt")
    assert opened_bucket.piece(found, 0, 1000) == b"a" * 1000
    obstore.put(store, "x.txt", b"b" * 3000)  # as long as before: only the tag tells
    said = refusal(lambda: opened_bucket.fetch(found, tmp_path / "x.txt"))
    assert "changed while it was read" in said
    assert not (tmp_path / "x.txt").exists()


def test_what_is_not_there_is_the_users_error_and_says_what_to_do(s3, tmp_path):
    bucket, store, secret = s3
    obstore.put(store, "pictures/a.png", b"x")
    for uri, words in (
        (f"s3://{bucket}/none.txt", "does not exist"),
        (f"s3://{bucket}/none", "holds no object"),
        (f"s3://{bucket}/pictures", "holds no .txt or .jsonl object"),
        ("https://127.0.0.1:1/folder", "must name one .txt or .jsonl file"),
    ):
        credentials = secret if uri.startswith("s3") else ""
        said = refusal(lambda u=uri, c=credentials: bring([source(u, c)], tmp_path / "s"))
        assert words in said
    (secret / "AWS_NONSENSE").write_text("1")
    assert "'aws_nonsense' is not valid" in refusal(
        lambda: bring([source(f"s3://{bucket}/none", secret)], tmp_path / "s")
    )


def test_credentials_are_in_no_message(s3, tmp_path):
    bucket, _, secret = s3
    (secret / "AWS_SECRET_ACCESS_KEY").write_text("hush-hush")
    (secret / "AWS_NONSENSE").write_text("hush-hush")
    said = refusal(lambda: bring([source(f"s3://{bucket}/x", secret)], tmp_path / "s"))
    assert "hush-hush" not in said


def test_a_corpus_in_a_bucket_is_read_lazily_and_damage_is_found(s3, tmp_path):
    bucket, store, secret = s3
    written(tmp_path / "corpus", {"a": (300_000, 4000)})
    for file in (tmp_path / "corpus").iterdir():
        obstore.put(store, file.name, file.read_bytes())
    corpus = opened(open_bucket(f"s3://{bucket}", secret), 64)
    np.testing.assert_array_equal(corpus.sample("a", 4000)[:64], line(300_000)[256_000:256_064])
    data = bytearray((tmp_path / "corpus/a.train.00000.tokens").read_bytes())
    data[5] ^= 1
    obstore.put(store, "a.train.00000.tokens", bytes(data))
    again = opened(open_bucket(f"s3://{bucket}", secret), 64)
    assert "does not match its hash" in refusal(lambda: again.sample("a", 0))


class Misbehaving:
    """A web server that has one file and answers as it is told, one word a request."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.asked = 0
        self.body = bytes(range(256)) * 20
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_) -> None:
                pass

            def do_HEAD(self) -> None:
                self._answer(body=False)

            def do_GET(self) -> None:
                outer.asked += 1
                word = outer.words.pop(0) if outer.words else "well"
                if word == "500":
                    self.send_error(500)
                elif word == "403":
                    self.send_error(403)
                elif word == "silent":
                    self.close_connection = True
                else:
                    self._answer(body=True, cut=word == "cut", short=word == "short")

            def _answer(self, *, body: bool, cut: bool = False, short: bool = False) -> None:
                data, total = outer.body, len(outer.body)
                if "Range" in self.headers:
                    first, last = self.headers["Range"].removeprefix("bytes=").split("-")
                    data = data[int(first) : int(last) + 1]
                    data = data[: len(data) // 2] if short else data
                    self.send_response(206)
                    end = int(first) + len(data) - 1
                    self.send_header("Content-Range", f"bytes {first}-{end}/{total}")
                else:
                    self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
                self.send_header("ETag", 'W/"weak"')
                self.end_headers()
                if body:
                    self.wfile.write(data[: len(data) // 2] if cut else data)
                self.close_connection = True

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        where = f"http://127.0.0.1:{self.server.server_port}"
        options = {"allow_http": True}
        store = HTTPStore(where, client_options=options, retry_config={"max_retries": 0})
        self.bucket = Bucket(store, where)


@pytest.fixture
def web():
    made = Misbehaving()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.mark.parametrize(
    "words", [["500"], ["cut"], ["short"], ["silent"], ["cut", "500", "silent", "short"]]
)
def test_a_server_that_fails_for_a_while_is_asked_again(web, tmp_path, words):
    web.words = list(words)
    found = web.bucket.one("x.txt")
    assert found.tag is None
    web.bucket.fetch(found, tmp_path / "x.txt")
    assert (tmp_path / "x.txt").read_bytes() == web.body
    assert web.asked >= len(words) + 1


def test_patience_ends_and_the_world_is_to_blame(web, tmp_path):
    found = web.bucket.one("x.txt")
    web.words = ["500"] * 100
    said = refusal(lambda: web.bucket.fetch(found, tmp_path / "x.txt"), Class.UNKNOWN)
    assert "could not be read in 5 tries" in said
    assert web.asked <= 15
    assert not (tmp_path / "x.txt").exists()


def test_a_refused_request_is_not_tried_again(web, tmp_path):
    found = web.bucket.one("x.txt")
    web.words = ["403"]
    said = refusal(lambda: web.bucket.fetch(found, tmp_path / "x.txt"))
    assert "may not be read with these credentials" in said
    assert web.asked == 1


def test_a_file_without_a_strong_tag_that_changes_its_length_is_refused(web, tmp_path):
    found = web.bucket.one("x.txt")
    web.body += b"more"
    assert "changed while it was read" in refusal(
        lambda: web.bucket.fetch(found, tmp_path / "x.txt")
    )
