"""Answers are compared where only the making of the model differs, and by what that may cost.

Holds: core/serving/canary/answer_comparison.py
"""

import pytest

from preamar.core.serving.canary.answer_comparison import LEAST_TOLERANCE, allowed
from preamar.protocol.canary import LEAST_COMPARED, AnswerDifferences
from preamar.protocol.sequential_test import NOTHING, grown
from tests.core.builders import a_service

EMBED = {"uri": "pvc://models/one", "task": "Embed"}
INFER = {"uri": "pvc://models/one", "task": "Infer"}
DIGEST = "sha256:" + "0" * 64


def made(model=None, **spec):
    return a_service(model=model or INFER, **spec)


def int8(tolerance="0.01"):
    return {"precision": "INT8", "tolerance": tolerance}


CASES = [
    pytest.param(made(), made(optimize=int8()), 0.01, id="optimised"),
    pytest.param(made(), made(optimize=int8("0.05")), 0.05, id="by its own tolerance"),
    pytest.param(made(), made(runtime={"instances": 2}), 0.01, id="another runtime"),
    pytest.param(made(), made(INFER | {"format": "ONNX"}), 0.01, id="another format"),
    pytest.param(made(), made(optimize=int8("0")), LEAST_TOLERANCE, id="never by nothing"),
    pytest.param(made(optimize=int8("0.02")), made(optimize=int8()), 0.03, id="both tolerances"),
    pytest.param(made(EMBED, optimize=int8()), made(EMBED, optimize=int8("0.04")), 0.09,
                 id="angles add up, and not their squares"),
    pytest.param(made(optimize=int8()), made(), None, id="back to the model as it came"),
    pytest.param(made(), made(INFER | {"uri": "pvc://models/two"}), None, id="another model"),
    pytest.param(made(), made(INFER | {"digest": DIGEST}), None, id="another digest"),
    pytest.param(made(), made(EMBED), None, id="another task"),
    pytest.param(made(INFER | {"task": "Generate"}), made(INFER | {"task": "Generate"},
                 optimize=int8()), None, id="texts are drawn"),
    pytest.param(made(), made(INFER | {"trust": "Code"}), None, id="code that may do anything"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "service", "tolerance"), CASES)
def test_how_far_answers_may_be_apart(before, service, tolerance):
    found = allowed(before, service)
    assert found == (None if tolerance is None else pytest.approx(tolerance))


def seen(*parts):
    bets = NOTHING
    for part in parts:
        bets = grown(bets, part)
    return AnswerDifferences(len(parts), sum(parts), bets)


def test_what_several_gateways_saw_counts_as_one():
    both = seen(3.0, 0.5).plus(seen(2.0))
    assert (both.compared, both.total) == (3, 5.5)
    assert both.bets == pytest.approx(seen(3.0, 0.5, 2.0).bets)
    assert both.mean == pytest.approx(5.5 / 3)
    assert AnswerDifferences().mean == 0


@pytest.mark.parametrize(
    ("apart", "too_far"),
    [
        (AnswerDifferences(), False),
        (seen(*[10.0] * LEAST_COMPARED), True),
        (seen(*[10.0] * (LEAST_COMPARED - 1)), False),
        (seen(*[1.01] * 50), False),
        (seen(*[0.2] * 500), False),
        # It was far off at first, and has been near since: the mean is what counts.
        (seen(*[10.0] * 20, *[0.9] * 3000), False),
    ],
)
def test_too_far_is_beyond_doubt_and_in_the_mean(apart, too_far):
    assert apart.too_far == too_far
