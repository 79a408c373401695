"""When was each pod of a namespace first seen to be ready? A watch of its own, in a thread."""

import threading
import time
from typing import Self

from kubernetes import client, watch

from e2e.kube import Kube

AGAIN_SECONDS = 0.5


class Readiness:
    """``seen`` maps pods to seconds since 1970, while the block lasts."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self._pods, self._namespace = client.CoreV1Api(kube.client.client), namespace
        self._ended = False
        self._watch = watch.Watch()
        self.seen: dict[str, float] = {}

    def __enter__(self) -> Self:
        threading.Thread(target=self._follow, daemon=True, name="readiness").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._watch.stop()

    def _follow(self) -> None:
        while not self._ended:
            try:
                for event in self._watch.stream(
                    self._pods.list_namespaced_pod, self._namespace, timeout_seconds=60
                ):
                    self._note(event["object"])
            except Exception:  # noqa: BLE001 - whatever ends a watch, another one begins
                time.sleep(AGAIN_SECONDS)

    def _note(self, pod: client.V1Pod) -> None:
        conditions = (pod.status and pod.status.conditions) or ()
        if any(each.type == "Ready" and each.status == "True" for each in conditions):
            self.seen.setdefault(pod.metadata.name, time.time())
