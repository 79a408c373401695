"""Are our kinds there? An operator may be installed before its CRDs, and says so until they come."""

import asyncio
import contextlib
import logging
from typing import Any

from preamar.cluster.census import missing_kinds
from preamar.cluster.port import ClusterError

log = logging.getLogger(__name__)
CRD_SECONDS = 5.0


async def kinds_are_there(client: Any, stopping: asyncio.Event) -> bool:
    """Wait for our CRDs; False if told to stop before they come."""
    while True:
        try:
            missing = await missing_kinds(client)
            if not missing:
                return True
            log.error(
                "The CRDs %s are not installed. Install the chart with crds.enabled=true, or "
                "call: kubectl apply -f crds/. Looking again every %g s.",
                ", ".join(missing),
                CRD_SECONDS,
            )
        except ClusterError as error:
            log.error("The API server does not answer: %s", error)  # noqa: TRY400
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CRD_SECONDS):
                await stopping.wait()
                return False
