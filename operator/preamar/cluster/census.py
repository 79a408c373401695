"""What exists, counted: UIDs and versions of all objects of a kind, without their bodies.

And whether our own kinds are installed at all.
"""

from kubernetes.aio.client import ApiClient

from preamar.api import GROUP, VERSION
from preamar.cluster.call import call
from preamar.cluster.kinds import collection
from preamar.cluster.port import Refused

METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
NEEDED = ("inferenceservices", "trainingjobs", "tenants")
PAGE = 500


async def census(
    client: ApiClient, api_version: str, plural: str, namespace: str, selector: str | None
) -> dict[str, int]:
    """The version of each object by UID. Raises ``ClusterError``."""
    path = collection(api_version, plural, namespace)
    query = {"limit": str(PAGE)} | ({"labelSelector": selector} if selector else {})
    counted: dict[str, int] = {}
    while True:
        page = await call(client, "GET", path, query=query, accept=METADATA_ONLY)
        for item in page["items"] or ():
            version = item["metadata"]["resourceVersion"]
            counted[item["metadata"]["uid"]] = int(version) if version.isdecimal() else 0
        place = page["metadata"].get("continue")
        if not place:
            return counted
        query = query | {"continue": place}


async def missing_kinds(client: ApiClient) -> tuple[str, ...]:
    """Which of our CRDs the API server does not serve. Raises ``ClusterError``."""
    try:
        found = await call(client, "GET", f"/apis/{GROUP}/{VERSION}")
    except Refused as error:
        if error.status != 404:
            raise
        return tuple(f"{plural}.{GROUP}" for plural in NEEDED)
    served = {resource["name"] for resource in found.get("resources") or ()}
    return tuple(f"{plural}.{GROUP}" for plural in NEEDED if plural not in served)
