"""The command of a worker, run by a real shell, with and without an agent in the image.

Holds: core/training/pods/command.py
"""

import json
import os
import subprocess

import pytest

from preamar.core.training.backends.deepspeed.command import command, of_ranks
from tests.core.builders import a_job

OWN = {"image": "x:1", "command": ["printenv"], "args": ["RANK", "LOCAL_RANK", "LOCAL_SIZE"]}


def run(folder, job, ranks="1"):
    env = {"PATH": f"{folder}:{os.environ['PATH']}", "JOB_COMPLETION_INDEX": "3"}
    env |= {"RANKS_PER_WORKER": ranks, **of_ranks(job.spec)}
    return subprocess.run(command(job.spec), env=env, capture_output=True, text=True, check=False)


def test_the_built_in_trainer_is_the_agents():
    assert command(a_job().spec) == ["preamar-train", "agent"]
    assert of_ranks(a_job().spec) == {}


def test_the_agent_starts_a_program_of_ones_own_as_each_rank(tmp_path):
    agent = tmp_path / "preamar-train"
    agent.write_text('#!/bin/sh\necho "$1" "$PREAMAR_RANK_COMMAND"\n')
    agent.chmod(0o755)
    name, _, words = run(tmp_path, a_job(**OWN)).stdout.partition(" ")
    assert name == "agent"
    assert json.loads(words) == ["printenv", "RANK", "LOCAL_RANK", "LOCAL_SIZE"]


@pytest.mark.parametrize(("ranks", "told"), [("1", ["3", "0", "1"]), ("2", [])])
def test_without_an_agent_it_runs_itself_and_knows_its_place_if_it_is_alone(tmp_path, ranks, told):
    assert run(tmp_path, a_job(**OWN), ranks).stdout.split() == told


def test_words_with_spaces_stay_words(tmp_path):
    job = a_job(image="x:1", command=["printf", "%s|"], args=["a b", "$HOME", "c"])
    assert run(tmp_path, job).stdout == "a b|$HOME|c|"
