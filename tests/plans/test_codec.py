"""Is a value that was kept the same when it is read again, wherever its class is by then?

Holds: tests/plans/codec.py
"""

from dataclasses import make_dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType

import pytest

from preamar.core.plan import Ref, RefusedManifest
from preamar.core.pods import PodView
from preamar.core.settings import Settings
from tests.core.builders import a_job, a_pod, a_rank, a_service, seen, watched
from tests.plans import codec
from tests.plans.codec import Reader, Unreadable, Writer

BOOKS = {"sources": [{"name": "books", "uri": "pvc://data/books"}]}
VALUES = (
    watched(a_job(data=BOOKS), pods=(a_rank(0), a_rank(1, code=75, words={"state": "saved"}))),
    seen(a_service(replicas=3), pods=(a_pod(a_service()),)),
    {Ref("v1", "Pod", "", "p"): RefusedManifest("digest", "No.")},
    MappingProxyType({"$": [1, 1.5, None, True], "b": {}}),
    Settings(internal_key=b"\x00key"),
    [frozenset({"a", "b"}), {1}, float("inf"), Decimal("2.50"), timedelta(seconds=1.5)],
    datetime(2026, 1, 1, 12, 0, 0, 5, tzinfo=UTC),
)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_is_read_as_it_was_written(value):
    writer = Writer()
    told = writer.write(value)
    again = Reader(writer.classes).read(told)
    assert again == value
    assert type(again) is type(value)
    assert Writer().write(again) == told


def test_of_two_classes_with_one_name_the_fitting_one_is_made(monkeypatch):
    one, other = make_dataclass("Twin", ["here"]), make_dataclass("Twin", ["there"])
    homes = {"Twin": [other, one]}
    monkeypatch.setattr(codec, "homes", lambda: homes)
    writer = Writer()
    told = writer.write([one(1), other(2)])
    assert Reader(writer.classes).read(told) == [one(1), other(2)]
    homes["Twin"].append(make_dataclass("Twin", ["here"]))
    with pytest.raises(Unreadable, match="RENAMED"):
        Reader(writer.classes).read(told)


def test_a_class_is_found_under_its_new_name_and_fields(monkeypatch):
    today = make_dataclass("PodSeen", [("title", str), ("uid", str), ("more", int, 0)])
    monkeypatch.setattr(codec, "homes", lambda: {"PodSeen": [today]})
    writer = Writer()
    told = writer.write(PodView("p", "u"))
    with pytest.raises(Unreadable, match="RENAMED"):
        Reader(writer.classes).read(told)
    monkeypatch.setattr(codec, "RENAMED", {"PodView": "PodSeen"})
    monkeypatch.setattr(codec, "RENAMED_FIELDS", {("PodView", "name"): "title"})
    assert Reader(writer.classes).read(told) == today("p", "u")


def test_a_field_that_became_an_entry_is_read_into_its_mapping():
    before = make_dataclass("Settings", ["triton_gpu_image", "gang_seconds"])
    writer = Writer()
    told = writer.write(before("triton:2", 40))
    images = {**Settings().images, "triton-gpu": "triton:2"}
    assert Reader(writer.classes).read(told) == Settings(images=images, gang_seconds=40)


def test_what_nobody_can_read_again_is_not_kept():
    with pytest.raises(Unreadable, match="cannot be kept"):
        Writer().write(object())
