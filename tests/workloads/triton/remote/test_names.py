"""No name and no archive writes anywhere but into its model's folder, and none fills the disk.

Holds: preamar_model/remote/files.py, preamar_model/remote/unpack.py
"""

import io
import stat
import tarfile
import zipfile
from functools import cache

import pytest
from preamar_model.refusal import Refusal
from preamar_model.remote import unpack as unpacking
from preamar_model.remote.files import must_be_plain
from preamar_model.remote.unpack import unpack

from tests.workloads.triton.remote.conftest import secret

BAD = [
    *("../x", "a/../../x", "/etc/passwd", "//x", "a//b", "./x", "a/./b", "..", ".", "", "a/"),
    *("a\\..\\b", "C:\\x", "a\x00b", "a\nb", "\x7f", "../" * 40 + "etc/passwd", "x" * 256),
    *("a/" * 600 + "b", "..\\x", "a/..", "/", "\t"),
]


@pytest.mark.parametrize("name", BAD)
def test_a_name_that_is_no_plain_path_is_refused(name):
    with pytest.raises(Refusal):
        must_be_plain(name)


@pytest.mark.parametrize("name", ["m.onnx", "a/b/c.bin", "1/model.py", "ä ö.txt", "..a", "a..b"])
def test_plain_names_are_not(name):
    must_be_plain(name)


@pytest.mark.parametrize("name", [n for n in BAD if n])
def test_a_hub_cannot_write_elsewhere(name, web, refused, tmp_path):
    web.hub("o/n", {"model.onnx": b"x", name: b"evil"})
    keys = secret(tmp_path / "hub", HF_ENDPOINT=f"http://{web.host}")
    reason, _ = refused("hf://o/n", web.host, secret=keys)
    assert reason == "ModelInvalid"
    assert not list(tmp_path.rglob("passwd"))


def a_tar(*members: tuple[tarfile.TarInfo, bytes], mode: str = "w:gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def a_zip(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in members:
            packed.writestr(name, data)
    return out.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


WRITABLE = [
    n for n in BAD if n and "\x00" not in n and not n.endswith("/") and n not in {"//x", "./x"}
]


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
@pytest.mark.parametrize("name", WRITABLE)
def test_an_archive_cannot_write_elsewhere(name, kind, secure, refused, tmp_path):
    data = a_tar((member(name), b"evil")) if kind == "tar.gz" else a_zip((name, b"evil"))
    if kind == "zip" and zipfile.ZipFile(io.BytesIO(data)).namelist() != [name]:
        pytest.skip("the zip writer itself gives it another name")
    secure.files[f"/m.{kind}"] = data
    reason, _ = refused(f"https://{secure.host}/m.{kind}", secure.host)
    assert reason == "ModelInvalid"
    assert not [f for f in tmp_path.rglob("*") if f.is_file() and f.read_bytes() == b"evil"]


KINDS = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("link", ["/etc/passwd", "../../x", "model.onnx"])
def test_links_and_devices_in_a_tar_are_refused(kind, link, secure, refused):
    data = a_tar((member("model.onnx"), b"x"), (member("link", kind, link), b""))
    secure.files["/m.tgz"] = data
    assert refused(f"https://{secure.host}/m.tgz", secure.host)[0] == "ModelInvalid"


def test_a_link_in_a_zip_is_refused(secure, refused):
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    secure.files["/m.zip"] = a_zip((info, b"/etc/passwd"))
    assert refused(f"https://{secure.host}/m.zip", secure.host)[0] == "ModelInvalid"


ZEROS, LEFT = b"\0" * 3_000_000, 2_500_000
MANY = 100


@cache
def bombs() -> dict[str, bytes]:
    many = a_zip(*((f"f{n}", b"") for n in range(MANY + 1)))
    lying = bytearray(a_zip(("model.onnx", ZEROS)))
    at = lying.index(b"PK\x01\x02") + 24
    lying[at : at + 4] = (10).to_bytes(4, "little")  # says that it holds ten bytes
    return {
        "zeros.tar.gz": a_tar((member("model.onnx"), ZEROS)),
        "zeros.tar.xz": a_tar((member("model.onnx"), ZEROS), mode="w:xz"),
        "zeros.tar.bz2": a_tar((member("model.onnx"), ZEROS), mode="w:bz2"),
        "zeros.zip": a_zip(("model.onnx", ZEROS)),
        "lying.zip": bytes(lying),
        "many.zip": many,
        "many.tar.gz": a_tar(*((member(f"f{n}"), b"") for n in range(MANY + 1))),
        "twice.tar": a_tar((member("a"), b"1"), (member("a"), b"2"), mode="w"),
    }


NAMES = "zeros.tar.gz zeros.tar.xz zeros.tar.bz2 zeros.zip lying.zip many.zip many.tar.gz twice.tar"


@pytest.mark.parametrize("name", NAMES.split())
def test_an_archive_that_would_fill_the_disk_is_ended_in_time(name, tmp_path, monkeypatch):
    assert unpacking.MOST_FILES == 10_000
    monkeypatch.setattr(unpacking, "MOST_FILES", MANY)
    (tmp_path / name).write_bytes(bombs()[name])
    (tmp_path / "out").mkdir()
    with pytest.raises(Refusal):
        unpack(tmp_path / name, name, tmp_path / "out", most=LEFT)
    assert sum(f.stat().st_size for f in (tmp_path / "out").rglob("*") if f.is_file()) <= LEFT


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.xz", "zip"])
def test_a_broken_archive_is_refused(kind, secure, refused):
    whole = (
        a_zip(("m", b"x" * 5000)) if kind == "zip" else a_tar((member("m"), bytes(range(250)) * 9))
    )
    for data in (b"no archive", b"", whole[: len(whole) // 2]):
        secure.files[f"/m.{kind}"] = data
        assert refused(f"https://{secure.host}/m.{kind}", secure.host)[0] == "ModelInvalid"


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_an_archive_of_plain_files_is_unpacked(kind, secure, fetch):
    files = {"model.onnx": b"x" * 1000, "labels/a.txt": b"a"}
    made = (
        a_zip(*files.items())
        if kind == "zip"
        else a_tar(*((member(f"./{n}"), d) for n, d in files.items()))
    )
    secure.files[f"/m.{kind}"] = made
    assert fetch(f"https://{secure.host}/m.{kind}", secure.host) == files
