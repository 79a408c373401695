"""How the chart is installed: by Helm 4 itself.

The command on PATH when it is Helm 4, else the library of the Python package, else one that is built.
All three install or upgrade, and wait until what the chart made is ready.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from e2e.clusters import gobuild
from e2e.clusters.places import CACHE, NAMESPACE, RELEASE, ROOT
from e2e.clusters.run import call
from e2e.clusters.say import TroubleError, say

CHART = ROOT / "charts/preamar"
WAIT_SECONDS = 240
HISTORY = 5
Values = dict[str, Any]


def command() -> str | None:
    """The helm on PATH, if it is version 4."""
    found = shutil.which("helm")
    if not found:
        return None
    try:
        said = call([found, "version", "--short"], timeout=30)
    except TroubleError:
        return None
    return found if re.match(r"v4\.", said.strip()) else None


def library() -> Any | None:
    try:
        import helm_python
    except (ImportError, OSError):  # not for this platform, or its shared object does not load
        return None
    return helm_python


def upgrade(kubeconfig: Path, values: Values) -> None:
    """Install or upgrade the release; ``TroubleError`` with Helm's words when that fails."""
    if program := command():
        by_command(program, kubeconfig, values)
    elif (module := library()) is not None:
        by_library(module, kubeconfig, values)
    else:
        by_command(str(gobuild.helm()), kubeconfig, values)


def by_command(program: str, kubeconfig: Path, values: Values) -> None:
    say(f"installing the chart with {program}")
    call(
        [
            *(program, "upgrade", RELEASE, CHART, "--install", "--namespace", NAMESPACE),
            *(
                "--kubeconfig",
                kubeconfig,
                "--values",
                "-",
                "--wait",
                "--timeout",
                f"{WAIT_SECONDS}s",
            ),
            *("--history-max", str(HISTORY)),
        ],
        timeout=WAIT_SECONDS + 60,
        stdin=json.dumps(values),
        log=CACHE / "logs/helm.log",
    )


def by_library(module: Any, kubeconfig: Path, values: Values) -> None:
    say(f"installing the chart with the Helm {module.helm_sdk_version()} library")
    with module.Config(kubeconfig_path=kubeconfig, namespace=NAMESPACE) as helm:
        try:
            if settled(module, helm):
                helm.upgrade(
                    CHART,
                    RELEASE,
                    values,
                    namespace=NAMESPACE,
                    timeout=WAIT_SECONDS,
                    wait="watcher",
                    max_history=HISTORY,
                    reset_values=True,
                )
            else:
                helm.install(
                    CHART,
                    RELEASE,
                    values,
                    namespace=NAMESPACE,
                    timeout=WAIT_SECONDS,
                    wait="watcher",
                )
        except module.HelmError as error:
            raise TroubleError(f"Helm did not install the chart: {error}") from None


def settled(module: Any, helm: Any) -> bool:
    """Whether there is a release to upgrade. One that a killed Helm left half made is removed."""
    try:
        history = helm.history(RELEASE)
    except module.HelmNotFoundError:
        return False
    latest = max(history, key=lambda one: one["revision"])
    status = latest["status"]
    if status.startswith("pending"):
        if len(history) > 1:
            helm.rollback(RELEASE)
            return True
        helm.uninstall(RELEASE, ignore_not_found=True)
        return False
    return True


def uninstall(kubeconfig: Path) -> None:
    """Remove the release; nothing when it is not there."""
    module = library()
    program = command()
    if program is None and module is not None:
        with module.Config(kubeconfig_path=kubeconfig, namespace=NAMESPACE) as helm:
            try:
                helm.uninstall(RELEASE, ignore_not_found=True, timeout=WAIT_SECONDS)
            except module.HelmError as error:
                raise TroubleError(f"Helm did not remove the release: {error}") from None
        return
    argv = [program or str(gobuild.helm()), "uninstall", RELEASE, "--namespace", NAMESPACE]
    call(
        [*argv, "--kubeconfig", kubeconfig, "--ignore-not-found", "--wait"],
        timeout=WAIT_SECONDS + 60,
    )


def tested(kubeconfig: Path) -> str:
    """Run the release's own tests (``helm test``); what they printed. ``TroubleError`` with Helm's
    words when one fails."""
    module = library()
    program = command()
    if program is None and module is not None:
        with module.Config(kubeconfig_path=kubeconfig, namespace=NAMESPACE) as helm:
            try:
                return str(helm.test(RELEASE, timeout=WAIT_SECONDS, logs=True)["logs"])
            except module.HelmError as error:
                raise TroubleError(f"The release's tests failed: {error}") from None
    argv = [program or str(gobuild.helm()), "test", RELEASE, "--namespace", NAMESPACE, "--logs"]
    return call(
        [*argv, "--kubeconfig", kubeconfig, "--timeout", f"{WAIT_SECONDS}s"],
        timeout=WAIT_SECONDS + 60,
    )
