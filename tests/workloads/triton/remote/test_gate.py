"""Whoever may name a model's place does not get to speak to the cluster's own network.

Holds: preamar_model/remote/attempts.py, preamar_model/remote/gate.py,
preamar_model/remote/location.py, preamar_model/remote/stores.py
"""

import socket

import pytest
from preamar_model.remote import gate as gates
from preamar_model.remote.attempts import SourceUnreachable
from preamar_model.remote.fetch import FetchSpec, fetched
from preamar_model.remote.gate import is_public

from tests.workloads.triton.remote.conftest import secret
from tests.workloads.triton.remote.servers import Web

INSIDE = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.0.0.1",
    "10.96.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "169.254.170.2",
    "100.64.0.1",
    "100.100.100.200",
    "192.0.0.192",
    "198.18.0.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:10.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::",
]
OUTSIDE = ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_of_the_inside_is_not_public_however_it_is_written(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", OUTSIDE)
def test_an_address_of_the_internet_is(address):
    assert is_public(address)


LITERALS = [a for a in INSIDE if "%" not in a]
ODD = ["localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "0x7f.1"]


@pytest.mark.parametrize("scheme", ["https", "hf"])
@pytest.mark.parametrize("host", [*LITERALS, *ODD])
def test_no_spelling_of_an_inner_address_is_spoken_to(host, scheme, refused, tmp_path):
    written = f"[{host}]" if ":" in host else host
    if scheme == "https":
        said = refused(f"https://{written}/m.onnx")
    else:
        keys = secret(tmp_path / "hub", HF_ENDPOINT=f"https://{written}", HF_TOKEN="hf_secret")
        said = refused("hf://owner/name", secret=keys)
    assert said[0] == "SourceDenied"


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://169.254.169.254",
        "http://10.0.0.1:9000",
        "https://10.0.0.1",
        "https://169.254.169.254",
        "https://[::1]",
        "http://1.1.1.1",
        "ftp://1.1.1.1",
        "file:///etc",
    ],
)
def test_no_endpoint_of_a_secret_leads_inside(endpoint, refused, tmp_path):
    keys = {"AWS_ACCESS_KEY_ID": "t", "AWS_SECRET_ACCESS_KEY": "t", "AWS_REGION": "us-east-1"}
    folder = secret(tmp_path / "s", **keys, AWS_ENDPOINT_URL=endpoint)
    reason, _ = refused("s3://bucket/m", secret=folder)
    assert reason in {"SourceDenied", "ModelInvalid"}


@pytest.mark.parametrize("port", [22, 80, 5432, 6443, 8443, 10250])
def test_only_the_port_of_https_is_spoken_to(port, refused):
    reason, message = refused(f"https://1.1.1.1:{port}/m.onnx")
    assert reason == "SourceDenied"
    assert "not an HTTPS port" in message


@pytest.mark.parametrize("kind", ["head", "get"])
def test_no_redirect_leads_inside(kind, secure, pair, refused):
    inner = Web(pair)
    inner.files["/m.onnx"] = b"secret"
    secure.files["/m.onnx"] = b"x"

    def move(_: str) -> None:
        if kind == "head" or len(secure.asked) > 1:
            secure.moved["/m.onnx"] = f"https://127.0.0.1:{inner.port}/m.onnx"

    secure.on_get = move
    reason, _ = refused(f"https://{secure.host}/m.onnx", secure.host)
    assert reason == "SourceDenied"
    assert inner.asked == []
    inner.close()


def test_no_redirect_leads_to_plain_http(secure, web, fetch):
    web.files["/m.onnx"] = b"secret"
    secure.files["/m.onnx"] = b"x"
    secure.moved["/m.onnx"] = f"http://{web.host}/m.onnx"
    with pytest.raises(SourceUnreachable):
        fetch(f"https://{secure.host}/m.onnx", secure.host)
    assert web.asked == []


def test_a_name_that_changes_its_address_is_judged_by_the_one_that_is_spoken_to(
    monkeypatch, secure, refused
):
    """The first look-up says a public address, the next would say the inside."""
    answers = [[("1.1.1.1", 443)], [("127.0.0.1", 443)]]
    spoken = []
    monkeypatch.setattr(gates, "_looked_up", lambda host, port: answers[min(len(spoken), 1)])

    def connect(address, timeout=None):
        spoken.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    assert refused("https://rebound.example/m.onnx")[0] == "SourceDenied"
    assert set(spoken) <= {("1.1.1.1", 443)}


def test_a_name_with_one_inner_address_among_public_ones_is_refused(monkeypatch, refused):
    both = [("1.1.1.1", 443), ("10.0.0.1", 443)]
    monkeypatch.setattr(gates, "_looked_up", lambda host, port: both)
    assert refused("https://mixed.example/m.onnx")[0] == "SourceDenied"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTPS_PROXY", "http://{host}"),
        ("https_proxy", "http://{host}"),
        ("ALL_PROXY", "http://{host}"),
        ("NO_PROXY", "*"),
        ("AWS_ENDPOINT_URL", "http://{host}"),
        ("AWS_ENDPOINT_URL_S3", "http://{host}"),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_METADATA_ENDPOINT", "http://{host}"),
    ],
)
def test_no_variable_of_the_pod_leads_inside(name, value, web, refused, monkeypatch):
    monkeypatch.setenv(name, value.format(host=web.host))
    assert refused("https://10.0.0.1/m.onnx")[0] == "SourceDenied"
    monkeypatch.setenv(name, value.format(host=web.host))
    monkeypatch.setattr("preamar_storage.attempts.PAUSES", ())
    monkeypatch.setattr(gates, "_looked_up", lambda host, port: [("10.0.0.1", 443)])
    assert refused("s3://bucket/m")[0] == "SourceDenied"
    assert web.asked == []


def test_an_untrusted_certificate_is_not_spoken_to(secure, tmp_path):
    secure.files["/m.onnx"] = b"x"
    wish = FetchSpec(f"https://{secure.host}/m.onnx", tmp_path / "c", 10**9, None, (secure.host,))
    with pytest.raises(SourceUnreachable), fetched(wish):
        pass
    assert secure.asked == []
