"""The agent's life: look rank 0 up, run the ranks, leave the last words, exit by the protocol.

Exit 0: done. 75: stopped on request, the checkpoint in the message is verified. Else: failed.
"""

import os
import sys
from pathlib import Path
from typing import Any

from preamar_train.agent import message, rank_reports
from preamar_train.agent.leaving import Leaving
from preamar_train.agent.lookup import address_of, own_address
from preamar_train.agent.progress import serve
from preamar_train.agent.settings import RANK_COMMAND, Settings, message_path, settings
from preamar_train.agent.signals import Signals
from preamar_train.agent.stopping import Stopping
from preamar_train.agent.supervisor import GroupEnd, Supervisor
from preamar_train.failures import DONE, FAILED, STOPPED, Class, classify
from preamar_train.reports import rank_state


def run_agent() -> int:
    try:
        config = settings(os.environ)
    except Exception as error:  # noqa: BLE001 - also the unforeseen is told
        return _failed(message_path(os.environ), 0, {}, error)
    try:
        return _run(config)
    except Exception as error:  # noqa: BLE001 - also the unforeseen is told
        words = rank_reports.of_rank(config.first_rank)
        return _failed(config.message, config.first_rank, words, error)


def _run(config: Settings) -> int:
    config.state.mkdir(parents=True, exist_ok=True)
    for old in config.state.glob("rank-*"):  # of a container that was restarted in its pod
        old.unlink()
    signals = Signals()
    signals.listen()
    leaving = Leaving()
    if config.index == 0 and config.agent_port:
        stopping = Stopping(config.stop_digest, signals.ask)
        serve(rank_state.of_rank(config.first_rank), config.agent_port, stopping, leaving)

    address = _address(config, signals)
    if address is None:
        return _stopped(config, {})
    ended = Supervisor(config, signals).run(address)
    code = _judge(config, ended, rank_reports.of_rank(config.first_rank), asked=signals.stop)
    leaving.ended(code)
    return code


def _address(config: Settings, signals: Signals) -> str | None:
    """Where this pod's ranks find rank 0; None if a stop was asked for before that was known."""
    if config.index == 0 and (own := own_address(config.master)):
        return own
    if config.command == RANK_COMMAND:
        return config.master  # looked up by the ranks, after imports that take longer
    return address_of(config.master, config.gang_seconds, signals.wait)


def _judge(config: Settings, ended: GroupEnd, words: dict[str, Any], *, asked: bool) -> int:
    if ended.cut:
        sentence = f"No checkpoint could be saved within the {config.grace_seconds:.0f} seconds between the stop and the kill."
        last = message.compose(
            "Failed", config.first_rank, words, kind=Class.KILLED.value, explanation=sentence
        )
        message.write(config.message, last)
        return FAILED
    if ended.failure:
        found = ended.failure
        last = message.compose(
            "Failed",
            found.rank,
            rank_reports.of_rank(found.rank) or words,
            kind=found.kind.value,
            explanation=found.explanation,
            waits=found.waits,
        )
        message.write(config.message, last)
        return FAILED
    if all(code == DONE for code in ended.codes):
        message.write(config.message, message.compose("Done", config.first_rank, words))
        return DONE
    if asked or all(code == STOPPED for code in ended.codes):
        return _stopped(config, words)
    raise RuntimeError(f"ranks ended with codes {', '.join(map(str, ended.codes))}")


def _stopped(config: Settings, words: dict[str, Any]) -> int:
    message.write(config.message, message.compose("Stopped", config.first_rank, words))
    return STOPPED


def _failed(file: Path, rank: int, words: dict[str, Any], error: Exception) -> int:
    failure = classify(error)
    print(f"failed: {failure.kind}: {failure.sentence}", file=sys.stderr, flush=True)
    last = message.compose(
        "Failed", rank, words, kind=failure.kind.value, explanation=failure.sentence
    )
    message.write(file, last)
    return FAILED
