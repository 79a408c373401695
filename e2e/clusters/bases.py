"""Where the Debian images come from that ours are built upon.

Pulled when a registry answers. Where none does, the same suite is bootstrapped from the mirror that
apt on this machine is configured with, and kept under the name that the Dockerfiles use.
"""

import shutil
import tempfile
from pathlib import Path

from e2e.clusters import buildah
from e2e.clusters.places import CACHE
from e2e.clusters.run import call
from e2e.clusters.say import TroubleError, say, step

PULL_SECONDS = 120.0
SECTIONS = "$(ORIGIN) $(CODENAME) $(COMPONENT) $(REPO_URI)"
# What the published slim images leave out, and what bootstrapping leaves behind.
NOT_KEPT = ("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "var/cache/apt/archives",
            "var/lib/apt/lists", "var/log/bootstrap.log")  # fmt: skip
EXCLUDE = """path-exclude /usr/share/doc/*
path-exclude /usr/share/man/*
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
path-include /usr/share/doc/*/copyright
"""


def name(suite: str) -> str:
    return f"docker.io/library/debian:{suite}-slim"


def ensure(suite: str) -> None:
    """Have the base image of a Debian suite in the local store."""
    image = name(suite)
    if buildah.has(image):
        return
    try:
        with step(f"pulling {image}"):
            buildah.run("pull", "--quiet", image, timeout=PULL_SECONDS)
        return
    except TroubleError:
        say(f"{image} cannot be pulled here: making it from this machine's apt mirror")
    with step(f"bootstrapping Debian {suite}"):
        bootstrap(suite, image)


def mirror() -> str:
    """The Debian mirror in apt's own configuration."""
    indexes = call(
        ["apt-get", "indextargets", "--format", SECTIONS, "Created-By: Packages"], timeout=60
    )
    for line in indexes.splitlines():
        origin, _, rest = line.partition(" ")
        codename, component, address = rest.split()
        if origin == "Debian" and component == "main" and "security" not in codename:
            return address
    raise TroubleError(
        "The base image can neither be pulled nor made: apt on this machine knows no Debian mirror. "
        "Let the machine reach a registry, or run `apt-get update` with a Debian mirror configured."
    )


def bootstrap(suite: str, image: str) -> None:
    source = mirror()
    CACHE.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix=f"{suite}-", dir=CACHE))
    try:
        call(
            ["debootstrap", "--variant=minbase", "--include=ca-certificates", suite, root, source],
            timeout=900,
            log=CACHE / f"logs/debootstrap-{suite}.log",
            hint="The apt mirror must be reachable.",
        )
        lines = [f"deb {source} {part} main" for part in (suite, f"{suite}-updates")]
        (root / "etc/apt/sources.list").write_text("\n".join(lines) + "\n")
        (root / "etc/dpkg/dpkg.cfg.d/slim").write_text(EXCLUDE)
        for part in NOT_KEPT:
            place = root / part
            if place.is_dir():
                shutil.rmtree(place)
                place.mkdir()
            else:
                place.unlink(missing_ok=True)
        commit(root, image)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def commit(root: Path, image: str) -> None:
    container = buildah.run("from", "scratch", timeout=60).strip()
    try:
        buildah.run("add", "--quiet", container, str(root), "/", timeout=300)
        buildah.run("config", "--cmd", "bash", container, timeout=60)
        buildah.run("commit", "--quiet", container, image, timeout=300)
    finally:
        buildah.run("rm", container, timeout=60)
