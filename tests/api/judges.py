"""Two judges of a document: the real API server, and our models.

Requests go through a few connections that stay open, so that ten thousand verdicts take seconds.
"""

import base64
import http.client
import json
import ssl
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import yaml
from pydantic import ValidationError

from preamar.api.inference import InferenceService
from preamar.api.meta import SpecModel, problems
from preamar.api.tenant import Tenant
from preamar.api.training import TrainingJob

MODELS: dict[str, type[SpecModel]] = {
    m.__name__: m for m in (InferenceService, TrainingJob, Tenant)
}
GROUP = "/apis/preamar.dev/v1alpha1"
PATHS = {
    "InferenceService": f"{GROUP}/namespaces/default/inferenceservices",
    "TrainingJob": f"{GROUP}/namespaces/default/trainingjobs",
    "Tenant": f"{GROUP}/tenants",
}
STRICT = "?dryRun=All&fieldValidation=Strict"
CONNECTIONS = 8
PATIENCE_SECONDS = 300


class Verdict(NamedTuple):
    accepted: bool
    said: str
    body: dict[str, Any] | None = None


def model_says(kind: str, document: Any) -> Verdict:
    try:
        MODELS[kind].model_validate(document)
    except ValidationError as error:
        return Verdict(False, "; ".join(problems(error)))
    return Verdict(True, "")


class Server:
    """A client of one API server."""

    def __init__(self, kubeconfig: str) -> None:
        config = yaml.safe_load(Path(kubeconfig).read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.where = urlsplit(cluster["server"])
        self.context = ssl.create_default_context(cadata=_text(cluster, "certificate-authority"))
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as pair:
            pair.write(_text(user, "client-certificate") + "\n" + _text(user, "client-key"))
            pair.flush()
            self.context.load_cert_chain(pair.name)
        self.mine = local()

    def call(
        self, method: str, path: str, body: Any = None, content: str = "application/json"
    ) -> tuple[int, Any]:
        """Status and answer; one retry when an idle connection was closed meanwhile."""
        data = None if body is None else json.dumps(body).encode()
        for again in (True, False):
            connection = getattr(self.mine, "connection", None)
            if connection is None:
                connection = self.mine.connection = http.client.HTTPSConnection(
                    self.where.hostname,
                    self.where.port,
                    context=self.context,
                    timeout=PATIENCE_SECONDS,
                )
            try:
                connection.request(method, path, data, {"Content-Type": content})
                answer = connection.getresponse()
                return answer.status, json.loads(answer.read() or b"null")
            except (http.client.HTTPException, OSError):
                self.mine.connection = None
                if not again:
                    raise
        raise AssertionError("not reached")

    def install(self, manifests: Iterable[dict[str, Any]]) -> None:
        """Apply CRDs and wait until they are established; refuse ones that are not structural."""
        root = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        for manifest in manifests:
            path = f"{root}/{manifest['metadata']['name']}"
            status, answer = self.call(
                "PATCH",
                f"{path}?fieldManager=test&force=true&fieldValidation=Strict",
                manifest,
                "application/apply-patch+yaml",
            )
            assert status in {200, 201}, answer.get("message", answer)
            deadline = time.monotonic() + PATIENCE_SECONDS
            while True:
                _, found = self.call("GET", path)
                # Right after the CRD is made the list is null.
                told = (found.get("status") or {}).get("conditions") or ()
                conditions = {c["type"]: c["status"] for c in told}
                assert conditions.get("NonStructuralSchema") != "True", found["status"]
                if conditions.get("Established") == "True":
                    break
                assert time.monotonic() < deadline, (
                    f"{path} was not established in {PATIENCE_SECONDS} s"
                )
                time.sleep(0.05)
            # Established is said a moment before the path answers.
            kind = manifest["spec"]["names"]["kind"]
            while self.call("GET", PATHS[kind])[0] != 200:
                assert time.monotonic() < deadline, f"{kind} was not served in {PATIENCE_SECONDS} s"
                time.sleep(0.05)

    def says(self, kind: str, document: Any) -> Verdict:
        """The verdict of a strict dry run. Anything but yes or no is an error of the test."""
        status, answer = self.call("POST", PATHS[kind] + STRICT, document)
        until = time.monotonic() + PATIENCE_SECONDS
        while _is_busy(status, answer) and time.monotonic() < until:
            time.sleep(0.5)
            status, answer = self.call("POST", PATHS[kind] + STRICT, document)
        if status == 201:
            return Verdict(True, "", answer)
        assert status in {400, 422}, (status, answer)
        return Verdict(False, str(answer.get("message")))

    def says_all(self, documents: list[tuple[str, Any]]) -> list[Verdict]:
        """The verdicts of many, a few at a time."""
        with ThreadPoolExecutor(CONNECTIONS) as threads:
            return list(threads.map(lambda one: self.says(*one), documents))


def _is_busy(status: int, answer: Any) -> bool:
    """Whether that says something of the machine, and nothing of the document."""
    said = str(answer.get("message")) if isinstance(answer, dict) else ""
    return status in {429, 503, 504} or (status == 500 and "etcdserver" in said)


def _text(part: dict[str, str], name: str) -> str:
    if f"{name}-data" in part:
        return base64.b64decode(part[f"{name}-data"]).decode()
    return Path(part[name]).read_text()
