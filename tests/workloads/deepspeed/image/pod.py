"""A pod of the trainer's image without a cluster: namespaces, a read-only root, uid 1000.

The image's file system is mounted by buildah; each pod has its own mount and process
namespaces, so that the agent is PID 1, an own /tmp, /dev/shm and home of its messages. Pods of a
job share the volumes under /mnt and meet on loopback.
"""

import json
import os
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

INNER = """
set -e
root={root}
mount --make-rprivate /
mount --bind $root $root
mount -o remount,ro,bind $root
mount -t proc proc $root/proc
mount --rbind /dev $root/dev
mount -t tmpfs -o mode=1777 tmpfs $root/tmp
mount -t tmpfs -o mode=1777,size={shm} tmpfs $root/dev/shm
{limit}
mount --bind {volumes}/data $root/mnt/data
mount --bind {volumes}/checkpoint $root/mnt/checkpoint
mount --bind {volumes}/export $root/mnt/export
exec chroot --userspec=1000:1000 $root env -i {env} {command}
"""
# As the kubelet does: all processes in one memory cgroup, which the pod sees as its own.
LIMIT = """
echo $$ > {cgroup}/cgroup.procs
mount -t tmpfs tmpfs $root/sys
mkdir -p $root/sys/fs/cgroup/memory
mount --bind {cgroup} $root/sys/fs/cgroup/memory
"""


def in_image(
    root: Path,
    volumes: Path,
    env: list[str],
    command: str,
    shm: str = "256m",
    cgroup: Path | None = None,
    **streams: Any,
) -> subprocess.Popen:
    """A command in namespaces of its own, as uid 1000 on a read-only root; with a memory cgroup if
    one is given."""
    inner = INNER.format(
        root=shlex.quote(str(root)),
        volumes=shlex.quote(str(volumes)),
        env=shlex.join(env),
        command=command,
        shm=shm,
        limit=LIMIT.format(cgroup=shlex.quote(str(cgroup))) if cgroup else "",
    )
    return subprocess.Popen(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", inner], **streams
    )


class Pod:
    def __init__(
        self,
        root: Path,
        image_env: list[str],
        volumes: Path,
        env: dict[str, str],
        command: str = "preamar-train agent",
        shm: str = "256m",
        cgroup: Path | None = None,
    ) -> None:
        self.messages = volumes / "export"
        self._name = f"message-{env['JOB_COMPLETION_INDEX']}-{time.monotonic_ns()}"
        env = {**env, "PREAMAR_TERMINATION_LOG": f"/mnt/export/{self._name}"}
        words = [*image_env, *(f"{key}={value}" for key, value in env.items())]
        self.log = volumes / f"{self._name}.log"
        with self.log.open("w") as stream:
            self.process = in_image(
                root,
                volumes,
                words,
                command,
                shm=shm,
                cgroup=cgroup,
                stdout=stream,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )

    def agent(self) -> int:
        """The agent's pid as this machine sees it."""
        (pid,) = _children(self.process.pid)
        return pid

    def ranks(self) -> list[int]:
        return _children(self.agent())

    def stop(self) -> None:
        os.kill(self.agent(), signal.SIGTERM)

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, words: str, limit: float = 120) -> None:
        deadline = time.monotonic() + limit
        while words not in self.text():
            assert self.process.poll() is None, self.text()[-3000:]
            assert time.monotonic() < deadline, self.text()[-3000:]
            time.sleep(0.05)

    def end(self, limit: float = 180) -> tuple[int, dict[str, Any]]:
        code = self.process.wait(limit)
        message = self.messages / self._name
        assert message.exists(), self.text()[-3000:]
        return code, json.loads(message.read_text())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
