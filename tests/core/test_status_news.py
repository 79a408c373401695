"""A status is compared with what would be written just as if that were read first.

Holds: core/status_news.py, api/inference_status.py, api/training_status.py
"""

from copy import deepcopy

import pytest
from pydantic import ValidationError

from preamar.api.inference_status import InferenceServiceStatus
from preamar.api.training_status import TrainingJobStatus
from preamar.core.status_news import says
from tests.plans.kept import states_of

MODELS = {"serving": InferenceServiceStatus, "training": TrainingJobStatus}


def statuses(kind):
    """All that are planned in kept states, with what was told before."""
    for state in states_of(kind):
        written = state.plan.get("status")
        if written is not None:
            (observed,) = state.arguments()
            told = observed.service if kind == "serving" else observed.job
            yield told.status, written["status"]


def changes(words):
    """The same with one word otherwise or left out, or with one more, for each word that there is."""
    if isinstance(words, dict):
        yield words | {"unheardOf": 1}
        for key, word in words.items():
            rest = {k: v for k, v in words.items() if k != key}
            yield from (rest, words | {key: None})
            yield from (words | {key: other} for other in changes(word))
    elif isinstance(words, list):
        yield from ([], words[1:], words + words[:1])
        for n, word in enumerate(words):
            yield from ([*words[:n], other, *words[n + 1 :]] for other in changes(word))
    elif isinstance(words, bool):
        yield not words
    elif isinstance(words, int):
        yield from (0, words + 1, float(words))
    else:
        yield from ("", f"{words}1")


def same_when_read(model, told, words):
    try:
        return model.model_validate(words) == told
    except ValidationError:
        return None  # nobody writes it


@pytest.mark.parametrize("kind", MODELS)
def test_a_status_that_is_planned_can_be_read_and_is_news(kind):
    model, found = MODELS[kind], list(statuses(kind))
    assert len(found) > 200
    for told, words in found:
        assert says(model.model_validate(words), words)
        assert not says(told, words)
        assert model.model_validate(words) != told


@pytest.mark.parametrize("kind", MODELS)
def test_words_are_compared_as_if_they_were_read_first(kind):
    model, news, old = MODELS[kind], 0, 0
    for _, words in list(statuses(kind))[::16]:
        told = model.model_validate(deepcopy(words))
        for other in changes(words):
            expected = same_when_read(model, told, other)
            if expected is not None:
                assert says(told, other) == expected
                news, old = news + (not expected), old + expected
    assert news > 300
    assert old > 100
