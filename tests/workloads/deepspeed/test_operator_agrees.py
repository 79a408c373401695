"""What the operator knows of the trainer without importing it is so."""

import json

from preamar_train.agent import progress as agent
from preamar_train.agent.progress import KEYS
from preamar_train.deepspeed_config import OWNED, OWNED_IN_ZERO
from preamar_train.presets import NAMES, PRESETS
from preamar_train.progress import Progress

from preamar.core.training import limits, shapes


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
    assert set(OWNED) <= limits.OWNED_KEYS
    assert set(OWNED_IN_ZERO) <= limits.OWNED_IN_ZERO


def test_the_agent_passes_on_every_word_that_a_rank_says_of_itself(tmp_path):
    told = tmp_path / "rank-0.json"
    Progress(told, 1, 10).say(state="Training")
    said = json.loads(told.read_text())
    assert "dataWaitRatio" in said
    assert set(said) <= set(KEYS)
    assert agent.progress(told) == {key: said.get(key) for key in KEYS}
