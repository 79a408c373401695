"""A resource that another version stored, and this one cannot read, is left as it is; its user is told.

Holds: shell/unreadable.py
"""

import pytest
from pydantic import ValidationError

from preamar.api.inference import InferenceService
from preamar.api.training import TrainingJob
from preamar.core.plan import Plan
from preamar.shell.unreadable import unreadable

BEGAN = "2026-01-01T00:00:00Z"


def stored(kind, **status):
    return {
        "apiVersion": "preamar.dev/v1alpha1",
        "kind": kind.__name__,
        "metadata": {"namespace": "demo", "name": "old", "uid": "u", "generation": 3},
        "spec": {"model": 7},
        "status": status,
    }


def planned(kind, **status):
    body = stored(kind, **status)
    with pytest.raises(ValidationError) as error:
        kind.model_validate(body)
    return unreadable(body, error.value)


@pytest.mark.parametrize(
    ("kind", "success"), [(InferenceService, "Ready"), (TrainingJob, "Succeeded")]
)
def test_its_status_says_where_it_is_not_understood_and_nothing_else_is_written(kind, success):
    plan = planned(kind)
    assert plan == Plan(status=plan.status)
    assert plan.status["metadata"] == {"namespace": "demo", "name": "old", "uid": "u"}
    assert plan.status["status"]["observedGeneration"] == 3
    said = plan.status["status"]["conditions"]
    assert [(each["type"], each["status"]) for each in said] == [
        (success, "False"),
        ("Stalled", "True"),
    ]
    assert {each["reason"] for each in said} == {"NotUnderstood"}
    for each in said:
        assert each["message"].startswith("spec.")
        assert each["message"].endswith("This version of Preamar cannot read it; edit it.")


def test_it_is_said_once():
    told = planned(InferenceService).status["status"]
    assert planned(InferenceService, **told) == Plan()


def test_another_sentence_is_news_but_not_another_moment():
    told = planned(InferenceService).status["status"]
    before = [
        each | {"message": "Other.", "lastTransitionTime": BEGAN} for each in told["conditions"]
    ]
    after = planned(InferenceService, conditions=before).status["status"]["conditions"]
    assert [each["message"] for each in after] == [each["message"] for each in told["conditions"]]
    assert {each["lastTransitionTime"] for each in after} == {BEGAN}
