"""Where is rank 0? The headless Service names its pod once that has an address.

A name that is asked for too early costs five seconds: so long DNS servers remember that it was
not there.
"""

import socket
import time
from collections.abc import Callable

from preamar_train.failures import Class, TrainerFailure

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0


def address_of(
    name: str,
    limit: float,
    wait: Callable[[float], bool],
    resolve: Callable[..., list[tuple]] = socket.getaddrinfo,
) -> str | None:
    """The address of a name within `limit` seconds; None if `wait` says that a stop was asked for."""
    deadline = time.monotonic() + limit
    pause = _FIRST_PAUSE
    while True:
        try:
            found = resolve(name, None, type=socket.SOCK_STREAM)
        except OSError as error:
            reason = error
        else:
            return str(found[0][4][0])
        left = deadline - time.monotonic()
        if left <= 0:
            raise TrainerFailure(
                Class.PEER_LOST,
                f"The pod of rank 0 ({name}) had no address within {limit:.0f} seconds ({reason}); "
                "not all workers could start at once.",
            )
        if wait(min(pause, left)):
            return None
        pause = min(2 * pause, _LONGEST_PAUSE)


def own_address(
    name: str,
    hostname: Callable[[], str] = socket.gethostname,
    resolve: Callable[..., list[tuple]] = socket.getaddrinfo,
) -> str | None:
    """This pod's address, if the name is its own. Kubernetes writes it into each pod's /etc/hosts,
    so no DNS server has to know of it yet."""
    host = name.partition(".")[0]
    if host != hostname():
        return None
    try:
        return str(resolve(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError:
        return None
