"""The commands: `preamar-model build`, `fetch`, `optimize`, `work` and `serve`."""

import os
import signal
import sys

USAGE = "usage: preamar-model build | fetch | optimize | work | serve [FLAG OF TRITONSERVER ...]"
STOPPED = 128 + signal.SIGTERM


def main() -> int:
    match sys.argv[1:]:
        case [("build" | "fetch" | "optimize") as command]:
            # PID 1 does not hear a signal without a handler: a pod that goes while its model is
            # prepared would be held for its whole grace period, and so would its accelerator.
            signal.signal(signal.SIGTERM, lambda *_: os._exit(STOPPED))
            if command == "optimize":
                from preamar_model.optimize.command import main as optimize

                return optimize()
            from preamar_model.build import command as build

            return build.main() if command == "build" else build.fetch()
        case ["work"]:
            from preamar_model.serve.working import main as work

            return work()
        case ["serve", *flags]:
            from preamar_model.serve.command import main as serve

            return serve(flags)
        case ["-h" | "--help"]:
            print(USAGE)
            return 0
    print(USAGE, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
