"""What people's commands read of a cluster: lists, logs, and what a pod serves. Nothing is written.

A log is a stream of lines without an end that is known; everything else is one answer.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient

from preamar.cluster.call import CONNECT_SECONDS, DEADLINE_SECONDS, call, problem, send
from preamar.cluster.kinds import collection
from preamar.cluster.port import ClusterError

LINE_BYTES = 64 * 1024
ANSWER_BYTES = 16 * 2**20


async def listed(
    client: ApiClient, api_version: str, plural: str, namespace: str, selector: str = ""
) -> list[Mapping[str, Any]]:
    """The objects of a kind, in one namespace or, where that is empty, in all. Raises
    ``ClusterError``."""
    query = {"labelSelector": selector} if selector else {}
    found = await call(client, "GET", collection(api_version, plural, namespace), query=query)
    items = found.get("items")
    return items if isinstance(items, list) else []


async def one(
    client: ApiClient, api_version: str, plural: str, namespace: str, name: str
) -> Mapping[str, Any] | None:
    """One object; None where there is none. Raises ``ClusterError``."""
    try:
        return await call(client, "GET", f"{collection(api_version, plural, namespace)}/{name}")
    except ClusterError as error:
        if error.status == 404:
            return None
        raise


async def served(client: ApiClient, namespace: str, pod: str, port: int, path: str) -> bytes:
    """What a pod answers at this path, by the API server. Raises ``ClusterError``."""
    where = f"{collection('v1', 'pods', namespace)}/{pod}:{port}/proxy/{path}"
    return await _read(client, where, {})


async def lines(
    client: ApiClient, namespace: str, pod: str, container: str, *, follow: bool, tail: int | None
) -> AsyncIterator[str]:
    """The log of a container, line by line; with ``follow`` until it ends. A line that is longer
    than ``LINE_BYTES`` is given in pieces. Raises ``ClusterError``."""
    where = f"{collection('v1', 'pods', namespace)}/{pod}/log"
    query = {"container": container} | ({"follow": "true"} if follow else {})
    query |= {"tailLines": str(tail)} if tail is not None else {}
    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=CONNECT_SECONDS, sock_read=None if follow else DEADLINE_SECONDS
    )
    try:
        response = await send(client, "GET", where, query, None, "application/json", timeout, "*/*")
        try:
            if response.status != 200:
                answer = await _json(response)
                raise problem(response.status, answer, "GET", where, response.headers)
            rest = b""
            async for piece in response.content.iter_any():
                *whole, rest = (rest + piece).split(b"\n")
                if len(rest) > LINE_BYTES:
                    whole, rest = [*whole, rest], b""
                for line in whole:
                    yield line.decode(errors="replace")
            if rest:
                yield rest.decode(errors="replace")
        finally:
            response.close()
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise ClusterError(f"GET {where}: {error or type(error).__name__}") from error


async def _read(client: ApiClient, where: str, query: Mapping[str, str]) -> bytes:
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            response = await send(
                client, "GET", where, query, None, "application/json", DEADLINE_SECONDS, "*/*"
            )
            try:
                if response.status != 200:
                    answer = await _json(response)
                    raise problem(response.status, answer, "GET", where, response.headers)
                parts, size = [], 0
                async for piece in response.content.iter_any():
                    parts.append(piece)
                    size += len(piece)
                    if size > ANSWER_BYTES:
                        raise ClusterError(f"GET {where}: more than {ANSWER_BYTES} bytes")
                return b"".join(parts)
            finally:
                response.close()
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise ClusterError(f"GET {where}: {error or type(error).__name__}") from error


async def _json(response: aiohttp.ClientResponse) -> Mapping[str, Any]:
    try:
        answer = await response.json(content_type=None)
    except ValueError:
        return {}
    return answer if isinstance(answer, Mapping) else {}
