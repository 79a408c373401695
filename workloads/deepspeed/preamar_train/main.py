"""Which part of the trainer runs: the agent of a pod, or one rank.

Imports of the parts are late, so that the agent, which only supervises, never loads torch.
"""

import sys

USAGE = "usage: preamar-train agent | rank"
BAD_USAGE = 2


def main(arguments: list[str] | None = None) -> int:
    match sys.argv[1:] if arguments is None else arguments:
        case ["agent"]:
            from preamar_train.agent.run import run_agent

            return run_agent()
        case ["rank"]:
            from preamar_train.rank import run_rank

            return run_rank()
        case _:
            print(USAGE, file=sys.stderr)
            return BAD_USAGE
