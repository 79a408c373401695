"""Where does a URI point, and with which words is it asked?

`s3://bucket/path`, `gs://bucket/path`, `az://container/path` are objects or prefixes;
`https://host/file` is one file; `hf://owner/name[@revision][/path]` is a repository of a hub. The
keys of a mounted Secret are the names of the usual environment variables; `HF_TOKEN` and
`AUTHORIZATION` are sent as headers. Plain HTTP is for hosts that the installation allows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from preamar_storage.secret import SecretUnreadable, endpoints_in, read_secret

from preamar_model.refusal import Refusal, RefusalReason, invalid

HUB = "https://huggingface.co"
SCHEMES = ("s3", "gs", "az", "https", "hf")
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class SourceLocation:
    """What obstore opens (``base``) and what is wanted there (``key``, an object or a prefix)."""

    uri: str
    scheme: str
    base: str
    key: str
    revision: str = ""
    repository: str = ""
    config: Mapping[str, str] = field(default_factory=lambda: NOTHING, repr=False)
    headers: Mapping[str, str] = field(default_factory=lambda: NOTHING, repr=False)
    endpoints: tuple[str, ...] = ()
    """URLs that a Secret asks to be used instead of the cloud's own."""


def location_of(uri: str, secret: Path | None) -> SourceLocation:
    """Raises `Refusal` for a URI or a Secret that cannot be used."""
    scheme, _, rest = uri.partition("://")
    if scheme not in SCHEMES or not rest:
        raise invalid(f"{uri} cannot be fetched: it must begin with one of {', '.join(SCHEMES)}.")
    keys = _keys_of(secret)
    if scheme == "hf":
        return _hub(uri, rest, keys)
    where, _, key = rest.partition("/")
    if "@" in where:
        raise invalid(f"{uri}: credentials do not belong into a URI: name a Secret instead.")
    if scheme == "https":
        if not key or key.endswith("/"):
            raise invalid(f"{uri} must name one file: a web server cannot list a folder.")
        authorization = keys.get("authorization")
        headers = {"Authorization": authorization} if authorization else {}
        return SourceLocation(uri, scheme, f"https://{where}", key, headers=headers)
    return SourceLocation(
        uri,
        scheme,
        f"{scheme}://{where}",
        key.strip("/"),
        config=keys,
        endpoints=endpoints_in(keys),
    )


def _hub(uri: str, rest: str, keys: Mapping[str, str]) -> SourceLocation:
    owner, _, more = rest.partition("/")
    name, _, path = more.partition("/")
    name, _, revision = name.partition("@")
    if not owner or not name:
        raise invalid(f"{uri} must have the form hf://owner/name, with @revision if you like.")
    base = keys.get("hf_endpoint", HUB).rstrip("/")
    token = keys.get("hf_token")
    return SourceLocation(
        uri=uri,
        scheme="hf",
        base=base,
        key=path.strip("/"),
        revision=revision or "main",
        repository=f"{owner}/{name}",
        headers={"Authorization": f"Bearer {token}"} if token else {},
        endpoints=(base,) if base != HUB else (),
    )


def _keys_of(secret: Path | None) -> dict[str, str]:
    try:
        return read_secret(secret)
    except SecretUnreadable as error:
        raise Refusal(
            RefusalReason.SOURCE_DENIED,
            f"The Secret of spec.model.secretName cannot be read: {error}.",
        ) from error


def host_of(url: str) -> tuple[str, int]:
    """Host and port of a URL; ValueError where it has none."""
    parts = urlsplit(url)
    if parts.hostname is None:
        raise ValueError(url)
    return parts.hostname, parts.port or (80 if parts.scheme == "http" else 443)
