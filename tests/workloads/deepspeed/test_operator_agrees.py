"""What the operator knows of the trainer without importing it is so.

Holds: preamar_train/models/presets.py, preamar_train/parallel/possible.py,
core/training/admission/limits.py, core/training/planner/shapes.py,
core/training/planner/sizing_problem.py
"""

import json
from itertools import product

from preamar_train.agent import progress as agent
from preamar_train.agent.progress import KEYS
from preamar_train.failures import TrainerFailure
from preamar_train.models.presets import NAMES, PRESETS, shape_of
from preamar_train.pace.progress import RankProgress
from preamar_train.parallel.possible import must_be_possible
from preamar_train.request import parse
from preamar_train.start.deepspeed_config import OWNED, OWNED_IN_ZERO
from pydantic import ValidationError

from preamar.core.training.admission import limits
from preamar.core.training.backends import shapes
from preamar.core.training.backends.deepspeed import configuration
from preamar.core.training.backends.sizing_problem import SizingProblem
from preamar.core.training.planner import sizes
from tests.core.builders import a_job
from tests.workloads.deepspeed.orders import order


def test_the_operator_knows_the_shapes_of_all_presets():
    assert shapes.PRESETS.keys() == PRESETS.keys()
    for name, known in shapes.PRESETS.items():
        built = PRESETS[name]
        assert {n: getattr(known, n) for n in shapes.NAMES.values()} == {
            n: getattr(built, n) for n in shapes.NAMES.values()
        }
        assert built.tie_embeddings  # or it would have a second table
        assert known.weights == built.parameters()


def test_the_operator_knows_what_may_be_changed_and_what_changes_no_size():
    assert {*shapes.NAMES, *shapes.OTHERS, "tieEmbeddings"} == set(NAMES)


def test_the_operator_refuses_every_key_that_the_trainer_does():
    assert set(OWNED) <= configuration.OWNED_KEYS
    assert set(OWNED_IN_ZERO) <= configuration.OWNED_IN_ZERO


def test_the_agent_passes_on_every_word_that_a_rank_says_of_itself(tmp_path):
    told = tmp_path / "rank-0.json"
    RankProgress(told, 1, 10).say(state="Training")
    said = json.loads(told.read_text())
    assert "dataWaitRatio" in said
    assert set(said) <= set(KEYS)
    assert agent.progress(told) == {key: said.get(key) for key in KEYS}


def test_the_operator_starts_what_the_trainer_can_split_and_nothing_else():
    ways = product(PRESETS, (1, 2, 4), (1, 2, 8), (1, 2, 3), range(4))
    for preset, tensor, pipeline, expert, stage in ways:
        copies, ranks = expert, tensor * pipeline * expert
        split = {"tensor": tensor, "pipeline": pipeline, "expert": expert, "zeroStage": stage}
        try:
            batch = {"global": copies, "micro": 1, "accumulation": 1}
            request = parse(json.dumps(order(parallelism=split, batch=batch)), ranks)
            must_be_possible(request, shape_of(preset, {}))
            possible = True
        except TrainerFailure:
            possible = False
        try:
            job = a_job(
                model={"preset": preset},
                parallelism=split,
                batch={"global": copies},
                workers={"replicas": ranks, "max": ranks},
            )
            terms = SizingProblem.of(job.spec)
            refused = limits.stops(job) or sizes.problem(terms, ranks)
        except ValidationError:  # the API refuses it already
            refused = True
        assert possible == (not refused), (preset, split, refused)
