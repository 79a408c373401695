"""What journeys and the demo ask of a cluster: apply, get, list, delete, wait.

Dynamic, so that custom resources and built-in kinds are handled alike. Every wait has a deadline and
says what it last saw.
"""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from kubernetes import config
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import NotFoundError

Json = dict[str, Any]
T = TypeVar("T")
OURS = "preamar.dev/v1alpha1"
PATIENCE = 6


class NotInTimeError(AssertionError):
    """Something awaited did not come about."""


def until(
    what: str,
    seconds: float,
    look: Callable[[], T | None],
    every: float = 0.5,
    progress: Callable[[], object] | None = None,
) -> T:
    """The first true answer of ``look``; ``NotInTimeError`` with ``what`` after ``seconds``.

    With ``progress`` the seconds begin anew whenever its answer changes, because a busy machine is
    slow and not stuck; what moves and never arrives is given up after ``PATIENCE`` times as long."""
    began = moved = time.monotonic()
    before = progress() if progress else None
    while True:
        found = look()
        if found:
            return found
        now = time.monotonic()
        if progress is not None and (after := progress()) != before:
            moved, before = now, after
        if now > moved + seconds or now > began + PATIENCE * seconds:
            seen = f", last seen: {before}" if progress else ""
            raise NotInTimeError(f"not within {now - began:.0f} s: {what}{seen}")
        time.sleep(every)


def documents(path: Path) -> Iterator[Json]:
    """The manifests in a YAML file."""
    yield from (document for document in yaml.safe_load_all(path.read_text()) if document)


class Kube:
    """One cluster, seen through its kubeconfig."""

    def __init__(self, kubeconfig: str) -> None:
        self.client = DynamicClient(config.new_client_from_config(config_file=kubeconfig))

    def kind(self, api_version: str, kind: str) -> Any:
        return self.client.resources.get(api_version=api_version, kind=kind)

    def apply(self, manifest: Json, namespace: str | None = None) -> Json:
        """Server-side apply as ``e2e``; strict, so that a misspelt field is an error."""
        resource = self.kind(manifest["apiVersion"], manifest["kind"])
        return resource.server_side_apply(
            body=manifest,
            namespace=namespace,
            field_manager="e2e",
            force_conflicts=True,
            field_validation="Strict",
        ).to_dict()

    def apply_file(self, path: Path, namespace: str) -> list[Json]:
        return [self.apply(document, namespace) for document in documents(path)]

    def get(self, api_version: str, kind: str, name: str, namespace: str | None) -> Json | None:
        try:
            return self.kind(api_version, kind).get(name=name, namespace=namespace).to_dict()
        except NotFoundError:
            return None

    def list(
        self, api_version: str, kind: str, namespace: str | None, selector: str = ""
    ) -> list[Json]:
        found = self.kind(api_version, kind).get(namespace=namespace, label_selector=selector)
        return found.to_dict()["items"]

    def row(self, api_version: str, kind: str, name: str, namespace: str | None) -> dict[str, str]:
        """What ``kubectl get -o wide`` shows of one object: column → text, as the server prints it."""
        resource = self.kind(api_version, kind)
        prepared = self.client.client.param_serialize(
            "GET",
            resource.path(name=name, namespace=namespace),
            header_params={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"},
            auth_settings=["BearerToken"],
        )
        answer = json.loads(self.client.client.call_api(*prepared).read())
        cells = answer["rows"][0]["cells"]
        names = [column["name"] for column in answer["columnDefinitions"]]
        return {title: str(cell) for title, cell in zip(names, cells, strict=True)}

    def patch(
        self, api_version: str, kind: str, name: str, namespace: str | None, body: Json
    ) -> None:
        self.kind(api_version, kind).patch(
            name=name, namespace=namespace, body=body, content_type="application/merge-patch+json"
        )

    def patch_status(
        self, api_version: str, kind: str, name: str, namespace: str | None, body: Json
    ) -> None:
        self.kind(api_version, kind).status.patch(
            name=name, namespace=namespace, body=body, content_type="application/merge-patch+json"
        )

    def delete(
        self,
        api_version: str,
        kind: str,
        name: str,
        namespace: str | None = None,
        grace: int | None = None,
    ) -> None:
        """Delete in the background, within ``grace`` seconds; already gone is fine."""
        body = {"propagationPolicy": "Background"}
        more = {} if grace is None else {"gracePeriodSeconds": grace}
        try:
            self.kind(api_version, kind).delete(name=name, namespace=namespace, body=body | more)
        except NotFoundError:
            return

    def namespace(self, name: str) -> None:
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def endpoints(self, service: str, namespace: str) -> int:
        """How many addresses of an InferenceService are ready, as its EndpointSlices say."""
        slices = self.list(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            namespace,
            f"kubernetes.io/service-name={service}-serve",
        )
        return sum(
            bool(endpoint.get("conditions", {}).get("ready"))
            for one in slices
            for endpoint in one.get("endpoints") or []
        )


def standing(resource: Json | None) -> tuple[object, ...]:
    """How far a resource of ours is: what changes in it while it comes nearer to anything."""
    status = (resource or {}).get("status") or {}
    progress, checkpoint = status.get("progress") or {}, status.get("checkpoint") or {}
    words = [(c["type"], c["status"], c.get("reason")) for c in status.get("conditions") or []]
    sizes = [status.get(each) for each in ("attempt", "workers", "replicas", "readyReplicas")]
    return (*sorted(words), *sizes, progress.get("step"), checkpoint.get("step"))


def condition(resource: Json | None, kind: str) -> Json:
    """A condition of a resource by type; empty where it is not there yet."""
    conditions = ((resource or {}).get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one["type"] == kind), {})
