"""One request to the API server: with a deadline, and with errors in our words.

``Conflict`` for preconditions and for what is gone, ``Refused`` for what will never be taken, else
``ClusterError``, which carries the server's ``Retry-After`` for the work queue to honour.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient

from preamar.cluster.port import ClusterError, Conflict, Refused

DEADLINE_SECONDS = 15.0
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
CONNECT_SECONDS = 10.0


async def call(
    client: ApiClient,
    method: str,
    path: str,
    *,
    query: Mapping[str, str] | None = None,
    body: Any = None,
    content_type: str = "application/json",
    accept: str = "application/json",
    deadline: float = DEADLINE_SECONDS,
) -> dict[str, Any]:
    """The JSON of the answer. Raises ``ClusterError`` or one of its kinds, never anything else of
    the network's."""
    try:
        async with asyncio.timeout(deadline):
            response = await send(client, method, path, query, body, content_type, deadline, accept)
            text = await response.read()
            status, headers = response.status, response.headers
    except TimeoutError as error:
        raise ClusterError(f"{method} {path}: no answer within {deadline:g} s") from error
    except (aiohttp.ClientError, OSError) as error:
        raise ClusterError(f"{method} {path}: {error or type(error).__name__}") from error
    try:
        answer = json.loads(text) if text else {}
    except ValueError:
        answer = {}
    if 200 <= status < 300 and isinstance(answer, dict):
        return answer
    raise problem(status, answer if isinstance(answer, dict) else {}, method, path, headers)


async def send(
    client: ApiClient,
    method: str,
    path: str,
    query: Mapping[str, str] | None,
    body: Any,
    content_type: str,
    seconds: float | aiohttp.ClientTimeout,
    accept: str = "application/json",
) -> aiohttp.ClientResponse:
    """The answer with its body still unread."""
    timeout = (
        seconds
        if isinstance(seconds, aiohttp.ClientTimeout)
        else aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_SECONDS)
    )
    prepared = await client.param_serialize(
        method,
        path,
        query_params=list((query or {}).items()),
        header_params={"Content-Type": content_type, "Accept": accept},
        body=body,
        auth_settings=["BearerToken"],
    )
    answer = await client.call_api(*prepared, _request_timeout=timeout)
    response: aiohttp.ClientResponse = answer.response
    return response


def problem(
    status: int, answer: Mapping[str, Any], method: str, path: str, headers: Mapping[str, str]
) -> ClusterError:
    """The exception for an answer which is not a success."""
    sentence = str(answer.get("message") or f"{method} {path} was answered with {status}")
    if status in {409, 412} or (status == 422 and _is_another(answer)):
        return Conflict(sentence, status=status)
    if (
        status == 404
        and answer.get("reason") == "NotFound"
        and answer.get("details", {}).get("name")
    ):
        # The object is gone; without its name in the answer it is the kind that does not exist.
        return Conflict(sentence, status=status)
    if status in {400, 403, 404, 405, 413, 415, 422}:
        return Refused(sentence, status=status)
    return ClusterError(sentence, status=status, retry_after=_seconds(headers.get("Retry-After")))


def _is_another(answer: Mapping[str, Any]) -> bool:
    """A UID in an apply is a precondition for us, but for the server a field that cannot change."""
    causes = (answer.get("details") or {}).get("causes") or ()
    return any(cause.get("field") == "metadata.uid" for cause in causes)


def _seconds(header: str | None) -> float | None:
    try:
        return max(0.0, min(float(header), 300.0)) if header else None
    except ValueError:
        return None
