"""Gateways that start in an instant: a process with everything imported, which forks one per order.

An order is a line of JSON: ``argv``, and where to die, ``at`` the n-th file operation below
``folder``: before it (side 0), after it (1), or after half of a write (2). The answer is a line with
the process's id, and one with its exit status when it has ended.
"""

import ctypes
import json
import os
import sys


def child(order: dict[str, object]) -> None:
    from e2e.faults.money.bugs import BUGS
    from preamar.gateway.server import run

    log = os.open(str(order["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if order["bug"]:
        BUGS[str(order["bug"])]()
    if order["at"]:
        arm = ctypes.CDLL(None).shim_arm
        at = ctypes.c_long(int(str(order["at"])))
        arm(str(order["folder"]).encode(), at, order["side"], -1, 0)
    os._exit(run([str(each) for each in order["argv"]]))  # type: ignore[attr-defined]


def main() -> None:
    import preamar.gateway.server
    import preamar.ledger.store.shipper  # noqa: F401

    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if not pid:
            child(order)
        print(json.dumps({"pid": pid}), flush=True)
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"exit": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()
