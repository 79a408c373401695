"""With which connection is a place read?

obstore speaks to all of them. What it would take from the environment, where the user of a pod may
write, is taken away first: endpoints, proxies and metadata servers could lead anywhere. Of a Secret
only the keys below are used, and a place without credentials is asked as the public, not as the node.
"""

import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from obstore import exceptions
from obstore.store import from_url

from preamar_model.refusal import invalid
from preamar_model.remote.location import SourceLocation

REQUEST_SECONDS, CONNECT_SECONDS, STILL_SECONDS = 3600, 10, 60
RETRIES = 2
"""The library's own, of one request; `attempts` begins anew after them."""
KEYS: Mapping[str, tuple[str, ...]] = {
    "s3": (
        *("aws_access_key_id", "aws_secret_access_key", "aws_session_token"),
        *("aws_region", "aws_default_region", "aws_endpoint", "aws_endpoint_url"),
        "aws_virtual_hosted_style_request",
    ),
    "gs": ("google_service_account_key",),
    "az": (
        *("azure_storage_account_name", "azure_storage_account_key", "azure_storage_sas_token"),
        *("azure_client_id", "azure_client_secret", "azure_tenant_id"),
    ),
}
NEEDED = {
    "s3": ("aws_access_key_id",),
    "gs": ("google_service_account_key",),
    "az": ("azure_storage_account_key", "azure_storage_sas_token", "azure_client_secret"),
}
FEDERATED = (
    *("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_REGION"),
    *("AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_ID", "AZURE_TENANT_ID"),
)
"""What EKS and AKS put into pods whose ServiceAccount has an identity in the cloud."""


def forget_environment() -> None:
    """Takes away what would change where the library speaks to."""
    for name in list(os.environ):
        upper = name.upper()
        cloud = upper.startswith(("AWS_", "GOOGLE_", "AZURE_", "HF_"))
        if upper.endswith("_PROXY") or (cloud and name not in FEDERATED):
            del os.environ[name]


def opened(place: SourceLocation, proxy: str, roots: bytes | None = None) -> Any:
    """The store of a place. ``proxy`` is the gate's URL; plain HTTP is for allowed hosts, which
    were judged before, and goes to them directly. ``roots``: more certificates to trust (PEM).
    Raises `Refusal` for what the library does not take."""
    plain = any(url.startswith("http://") for url in place.endpoints)
    options: dict[str, Any] = {
        "timeout": timedelta(seconds=REQUEST_SECONDS),
        "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
        "read_timeout": timedelta(seconds=STILL_SECONDS),
        "allow_http": plain,
        "user_agent": "preamar-model",
    }
    options |= {} if plain else {"proxy_url": proxy}
    options |= {"default_headers": dict(place.headers)} if place.headers else {}
    options |= {"root_certificate": roots} if roots else {}
    try:
        return from_url(
            place.base,
            config=config_of(place),
            client_options=options,
            retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=60)},
        )
    except (exceptions.BaseError, ValueError) as error:
        first = (str(error).splitlines() or [""])[0][:300]
        raise invalid(f"{place.uri} cannot be used: {first}") from error


def config_of(place: SourceLocation) -> dict[str, str] | None:
    """What the library is told beside the URL. Raises `Refusal` for keys it has no use for."""
    known = KEYS.get(place.scheme)
    if known is None:
        return None
    strange = sorted(set(place.config) - set(known))
    if strange:
        words = ", ".join(each.upper() for each in known)
        raise invalid(
            f"The Secret of spec.model.secretName has {', '.join(strange)[:200]}, which {place.scheme}:// "
            f"has no use for; it may have {words}."
        )
    config = dict(place.config)
    federated = any(name.startswith(_CLOUD[place.scheme]) for name in os.environ)
    if not federated and not any(config.get(key) for key in NEEDED[place.scheme]):
        config["skip_signature" if place.scheme != "az" else "azure_skip_signature"] = "true"
    return config


_CLOUD = {"s3": "AWS_WEB_IDENTITY", "gs": "GOOGLE_", "az": "AZURE_FEDERATED"}
