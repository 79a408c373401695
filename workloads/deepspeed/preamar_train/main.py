"""Which part of the trainer runs: the agent of a pod, one rank, the converter of checkpoints, or a
pod of the prepare Job.

Imports of the parts are late, so that the agent, which only supervises, never loads torch.
"""

import sys

USAGE = "usage: preamar-train agent | rank | convert | prepare"
BAD_USAGE = 2


def main(arguments: list[str] | None = None) -> int:
    match sys.argv[1:] if arguments is None else arguments:
        case ["agent"]:
            from preamar_train.agent.run import run_agent

            return run_agent()
        case ["rank"]:
            from preamar_train.rank import run_rank

            return run_rank()
        case ["prepare"]:
            from preamar_train.corpus.run import run_prepare

            return run_prepare()
        case ["convert"]:
            from preamar_train.converter import run_converter

            return run_converter()
        case _:
            print(USAGE, file=sys.stderr)
            return BAD_USAGE
