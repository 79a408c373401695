"""By which name do callers know a model, and whose is it where several services claim it?

The oldest service's, as the API server tells their age: in whole seconds, so that one ``kubectl apply``
makes two of the same age. Then the first by namespace and name has it, which anybody can see.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

from preamar.api.inference import model_name

UNDATED = datetime.min.replace(tzinfo=UTC)
"""Of what no API server has dated, such as a file that somebody wrote: older than all else."""


class Claimant(NamedTuple):
    """A service that claims a name. Its order is the order of rights: the first has the name."""

    created: datetime
    namespace: str
    name: str

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Self:
        """From a resource's metadata as JSON."""
        return cls(
            _moment(metadata.get("creationTimestamp")),
            str(metadata.get("namespace") or ""),
            str(metadata["name"]),
        )


def owner(claimants: Iterable[Claimant]) -> Claimant:
    """Who of them has the name; there must be one."""
    return min(claimants)


def name_claimed(body: Mapping[str, Any]) -> str:
    """The name that an InferenceService as JSON claims."""
    given = (body["spec"].get("model") or {}).get("name")
    return model_name(str(given) if given else None, str(body["metadata"]["name"]))


def _moment(text: Any) -> datetime:
    try:
        read = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return UNDATED
    return read if read.tzinfo else read.replace(tzinfo=UTC)
