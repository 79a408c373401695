"""What has the installation decided, that no user writes into a resource?

The chart fills these from its values; the shell reads them once at start-up.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from preamar.core.capacity.clouds import SHORTEST_NOTICE
from preamar.core.capacity.hardware import SHIPPED, HardwareCatalog
from preamar.protocol.engines import images
from preamar.protocol.images import default_of
from preamar.protocol.ports import GATEWAY_HTTP

IMAGES: Mapping[str, str] = MappingProxyType({name: default_of(name) for name in images()})
"""Those of an installation that says nothing of them."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Facts of this installation.

    ``images`` of pods that serve and train, by name (``protocol.images``).
    ``gateway_url`` is what status.url shows to users. ``free_restarts`` bounds how often one
    training job may be restarted without it being anybody's fault. ``node_local_storage_class`` is
    for volumes on local disks that data is staged on; the cluster's default when empty.
    ``gang_seconds`` is how long some workers may hold accelerators while others wait for theirs.
    ``fleet``: what accelerators can do and cost here.
    ``spot_notice_seconds`` is how long before it takes a spot machine the cloud says so (``clouds``).
    ``model_cache_claim`` is the claim of a service's namespace that fetched models are kept on,
    ``model_cache_bytes`` what they may have together, ``model_hosts`` those that models may come
    from although they are not public (``host`` or ``host:port``).
    ``internal_key`` is the secret from which the tokens of training agents are derived; empty
    where there is none.
    """

    images: Mapping[str, str] = field(default_factory=lambda: IMAGES)
    image_pull_policy: str = "IfNotPresent"
    cluster_domain: str = "cluster.local"
    gateway_url: str = f"http://preamar-gateway.preamar-system.svc.cluster.local:{GATEWAY_HTTP}"
    free_restarts: int = 100
    node_local_storage_class: str = ""
    gang_seconds: int = 600
    fleet: HardwareCatalog = SHIPPED
    spot_notice_seconds: int = SHORTEST_NOTICE
    model_cache_claim: str = "preamar-models"
    model_cache_bytes: int = 100 * 2**30
    model_hosts: tuple[str, ...] = ()
    internal_key: bytes = field(default=b"", repr=False)
