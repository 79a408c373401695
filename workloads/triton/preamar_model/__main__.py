"""The commands: `preamar-model build` and `preamar-model serve`."""

import sys

USAGE = "usage: preamar-model build | serve [FLAG OF TRITONSERVER ...]"


def main() -> int:
    match sys.argv[1:]:
        case ["build"]:
            from preamar_model.build import main as build

            return build()
        case ["serve", *flags]:
            from preamar_model.serve import main as serve

            return serve(flags)
        case ["-h" | "--help"]:
            print(USAGE)
            return 0
    print(USAGE, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
