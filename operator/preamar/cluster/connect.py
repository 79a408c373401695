"""How to reach the API server: a kubeconfig where one is named, else the pod's own account.

Tokens are read again as they are renewed, each minute in a pod; an ``exec`` plugin of a kubeconfig
is asked again by a task that ends with the client. Nothing is retried here: callers know better.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio import config as untyped_config
from kubernetes.aio.client import ApiClient, Configuration

from preamar import __version__

# The library has types for requests, but none for finding the server.
config: Any = untyped_config
# Watches hold a connection each for minutes; the rest is for short requests.
CONNECTIONS = 64
RENEW_SECONDS = 60
# An idle connection is worth keeping: a new one is a TLS handshake on both sides. API servers
# close theirs after 90 s.
KEPT_SECONDS = 75.0


class Unreachable(Exception):
    """There is no usable way to an API server; the message says what to do."""


@contextlib.asynccontextmanager
async def connect(
    kubeconfig: str | None = None, context: str | None = None
) -> AsyncIterator[ApiClient]:
    """A client that presents our name, closed at the end; ``context`` is one of the kubeconfig's,
    its current one where none is named. Raises ``Unreachable``."""
    settings = Configuration()
    renewing: asyncio.Task[None] | None = None
    try:
        if kubeconfig is None and context is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
            config.load_incluster_config(client_configuration=settings)
        else:
            path = _chosen(kubeconfig)
            loader = await config.load_kube_config(
                config_file=path,
                context=context,
                client_configuration=settings,
                persist_config=False,
            )
            renewing = asyncio.create_task(
                config.refresh_token(loader, settings, interval=RENEW_SECONDS)
            )
    except (config.ConfigException, OSError, KeyError, ValueError) as error:
        raise Unreachable(f"The way to the API server cannot be read: {error}") from error
    # One write is sent once: the work queue decides about another try, after looking again.
    settings.retries = None
    # With it each request first reads ~/.netrc, in a thread. Kopf takes no proxies from the
    # environment either.
    settings.client_session_kwargs = {"trust_env": False}
    client: Any = ApiClient(configuration=settings)
    connector = aiohttp.TCPConnector(
        limit=CONNECTIONS, ssl=client.rest_client.ssl_context, keepalive_timeout=KEPT_SECONDS
    )
    settings.client_session_kwargs["connector"] = connector
    client.user_agent = f"preamar/{__version__}"
    try:
        yield client
    finally:
        if renewing is not None:
            renewing.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await renewing
        await client.close()
        await connector.close()


def namespace_of(kubeconfig: str | None = None, context: str | None = None) -> str:
    """The namespace that a kubeconfig's context names, as kubectl takes it; else ``default``."""
    try:
        contexts, active = config.list_kube_config_contexts(_chosen(kubeconfig))
    except (config.ConfigException, Unreachable, OSError, KeyError, ValueError):
        return "default"
    named = {each["name"]: each for each in contexts or ()}
    chosen = named.get(context, {}) if context else active or {}
    return str((chosen.get("context") or {}).get("namespace") or "default")


def _chosen(kubeconfig: str | None) -> str:
    path = kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
    if not Path(path).expanduser().is_file():
        raise Unreachable(
            f"There is no kubeconfig at {path}, and this is not a pod. "
            "Name one with --kubeconfig or KUBECONFIG."
        )
    return str(Path(path).expanduser())
