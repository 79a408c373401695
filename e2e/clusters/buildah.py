"""How images are built without an engine, in a store of our own.

The machine's certificates and its pip settings reach a build through a directory that is mounted while
it runs, so an image never carries them.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

from e2e.clusters.places import CACHE
from e2e.clusters.run import call

STORE = CACHE / "buildah"
INSIDE = "/run/preamar-build"
BUNDLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
PIP_KEYS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")


def base() -> list[str]:
    """Every call names the store and a policy, because a machine may have neither set up."""
    policy = CACHE / "policy.json"
    if not policy.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
    return ["buildah", f"--root={STORE}", f"--runroot={STORE}-run", "--storage-driver=overlay"]


def run(verb: str, *arguments: str, timeout: float, log: Path | None = None) -> str:
    env = {"BUILDAH_ISOLATION": "chroot", "TMPDIR": str(temporary())}
    signed = (
        ["--signature-policy", str(CACHE / "policy.json")]
        if verb in {"pull", "bud", "commit", "push"}
        else []
    )
    return call([*base(), verb, *signed, *arguments], timeout=timeout, env=env, log=log)


def temporary() -> Path:
    """Layers pass through here; /tmp may be small."""
    place = CACHE / "tmp"
    place.mkdir(parents=True, exist_ok=True)
    return place


def has(image: str) -> bool:
    return bool(
        subprocess.run(
            [*base(), "images", "--quiet", image], capture_output=True, timeout=60, check=False
        ).stdout.strip()
    )


def build(image: str, dockerfile: Path, context: Path, log: Path) -> None:
    """Build a Dockerfile as any engine would, with layers kept for the next time."""
    shared = CACHE / "build-settings"
    shared.mkdir(parents=True, exist_ok=True)
    arguments = [
        "--layers",
        "--pull-never",
        "--format=docker",
        f"--tag={image}",
        f"--file={dockerfile}",
    ]
    if bundle := certificates():
        shutil.copyfile(bundle, shared / "ca.crt")
        arguments += [
            f"--build-arg={name}={INSIDE}/ca.crt" for name in ("PIP_CERT", "SSL_CERT_FILE")
        ]
        arguments += [f"--volume={shared}:{INSIDE}:ro"]
    if settings := pip_settings():
        (shared / "pip.conf").write_text(settings)
        arguments += [f"--volume={shared / 'pip.conf'}:/etc/pip.conf:ro"]
    run("bud", *arguments, str(context), timeout=3600, log=log)


def certificates() -> Path | None:
    """The bundle this machine trusts, where it is told to use one of its own."""
    for name in BUNDLES:
        if (value := os.environ.get(name)) and Path(value).is_file():
            return Path(value)
    return None


def pip_settings() -> str:
    """The mirror that pip on this machine is configured with, as a file; empty when it has none."""
    values = {key: os.environ.get("PIP_" + key.replace("-", "_").upper()) for key in PIP_KEYS}
    for line in listed().splitlines():
        name, _, value = line.partition("=")
        key = name.rpartition(".")[2]
        if key in values and not values[key]:
            values[key] = value.strip("'\"")
    if not (values["index-url"] or values["extra-index-url"] or values["proxy"]):
        return ""
    lines = [f"{key} = {value}" for key, value in values.items() if value]
    return "[global]\n" + "\n".join(lines) + "\n"


def listed() -> str:
    pip = shutil.which("pip3") or shutil.which("pip")
    if not pip:
        return ""
    return subprocess.run(
        [pip, "config", "list"], capture_output=True, text=True, timeout=60, check=False
    ).stdout
