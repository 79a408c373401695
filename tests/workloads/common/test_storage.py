"""Both images ask object stores, read Secrets and write to disks in the same way.

Holds: preamar_storage/attempts.py, preamar_storage/durable.py, preamar_storage/secret.py,
preamar_storage/version.py
"""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from obstore import exceptions
from preamar_storage import attempts
from preamar_storage.attempts import StoreRefused, StoreUnreachable, TornAnswer, UserFault, tried
from preamar_storage.durable import sync
from preamar_storage.secret import SecretUnreadable, endpoints_in, read_secret
from preamar_storage.version import strong_tag, version_of


class Store:
    """Fails as it is told, then answers."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        if self.failures:
            raise self.failures.pop(0)
        return "answer"


@pytest.fixture
def pauses(monkeypatch):
    slept = []
    monkeypatch.setattr(attempts.time, "sleep", slept.append)
    return slept


def test_the_world_is_given_five_tries_and_seven_and_a_half_seconds(pauses):
    store = Store(*[exceptions.GenericError("it is\nbroken")] * 5)
    with pytest.raises(StoreUnreachable, match=r"^could not be read in 5 tries: it is$"):
        tried(store)
    assert store.asked == 5
    assert pauses == [0.5, 1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    "failure",
    [
        exceptions.GenericError("x"),
        TornAnswer("1 of 2 bytes came"),
        ConnectionResetError(104, "reset"),
        TimeoutError(),
    ],
)
def test_what_fails_for_a_while_answers_in_the_end(pauses, failure):
    assert tried(Store(*[failure] * 4)) == "answer"
    assert len(pauses) == 4


@pytest.mark.parametrize(
    ("failure", "fault"),
    [
        (exceptions.NotFoundError("x"), UserFault.ABSENT),
        (FileNotFoundError(404), UserFault.ABSENT),
        (exceptions.PermissionDeniedError("x"), UserFault.FORBIDDEN),
        (PermissionError(403), UserFault.FORBIDDEN),
        (exceptions.UnauthenticatedError("x"), UserFault.UNAUTHENTICATED),
        (exceptions.InvalidPathError("x"), UserFault.UNNAMEABLE),
    ],
)
def test_what_the_user_can_mend_is_not_tried_again(pauses, failure, fault):
    store = Store(failure)
    with pytest.raises(StoreRefused) as caught:
        tried(store, lambda: pytest.fail("it is no failure of the world"))
    assert (caught.value.fault, store.asked, pauses) == (fault, 1, [])


@pytest.mark.parametrize("failure", [exceptions.PreconditionError("x"), KeyError("ours")])
def test_what_only_the_caller_understands_goes_through(pauses, failure):
    store = Store(failure)
    with pytest.raises(type(failure)):
        tried(store)
    assert store.asked == 1


def test_whoever_looks_on_may_end_the_tries(pauses):
    def failed() -> None:
        raise LookupError("closed")

    store = Store(*[exceptions.GenericError("x")] * 9)
    with pytest.raises(LookupError):
        tried(store, failed)
    assert (store.asked, pauses) == (1, [])


def test_an_error_without_words_is_told_by_its_name():
    assert attempts.first_line(TimeoutError()) == "TimeoutError"
    assert attempts.first_line(ValueError("\n a\nb")) == "a"
    assert len(attempts.first_line(ValueError("x" * 999))) == 300


def test_a_secret_is_read_as_the_kubelet_mounts_it(tmp_path):
    (tmp_path / "..data").mkdir()
    (tmp_path / "AWS_ENDPOINT_URL").write_text("https://store.example\n")
    (tmp_path / "AWS_REGION").write_text(" eu-1 ")
    keys = read_secret(tmp_path)
    assert keys == {"aws_endpoint_url": "https://store.example", "aws_region": "eu-1"}
    assert endpoints_in(keys) == ("https://store.example",)
    assert endpoints_in({"aws_endpoint": "a", "endpoints": "b"}) == ("a",)
    assert read_secret(None) == {}


def test_a_secret_that_is_missing_or_no_text_says_so(tmp_path):
    with pytest.raises(SecretUnreadable, match="No such file"):
        read_secret(tmp_path / "none")
    (tmp_path / "KEY").write_bytes(b"\xff\xfe")
    with pytest.raises(SecretUnreadable, match="utf-8"):
        read_secret(tmp_path)


def test_a_weak_tag_is_no_condition_and_a_version_by_time():
    at = datetime(2026, 1, 2, tzinfo=UTC)
    strong = {"e_tag": '"x"', "last_modified": at}
    assert (strong_tag(strong), version_of(strong)) == ('"x"', '"x"')
    for tag in ('W/"x"', "", None):
        weak = {"e_tag": tag, "last_modified": at}
        assert (strong_tag(weak), version_of(weak)) == (None, "2026-01-02T00:00:00+00:00")


def test_files_and_folders_are_made_durable_and_no_handle_is_left(tmp_path, monkeypatch):
    synced, handles = [], Path("/proc/self/fd")
    monkeypatch.setattr(
        os, "fsync", lambda handle: synced.append((handles / str(handle)).readlink())
    )
    (tmp_path / "file").write_text("x")
    before = len(list(handles.iterdir()))
    sync(tmp_path / "file")
    sync(tmp_path)
    assert synced == [tmp_path / "file", tmp_path]
    assert len(list(handles.iterdir())) == before
