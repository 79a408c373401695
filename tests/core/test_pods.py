"""What a pod's status says of its end before its phase does.

Holds: core/pods.py
"""

import pytest

from preamar.core.pods import PodView

ENDED = {"terminated": {"exitCode": 0}}
FAILED = {"terminated": {"exitCode": 75, "message": "{}"}}
RUNS = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}


def seen(*states, phase="Running", policy="Never", named=None) -> PodView:
    names = [f"c{number}" for number in range(len(states))]
    return PodView.of(
        {
            "metadata": {"name": "p", "uid": "u"},
            "spec": {"restartPolicy": policy, "containers": [{"name": n} for n in named or names]},
            "status": {
                "phase": phase,
                "containerStatuses": [
                    {"name": name, "state": state}
                    for name, state in zip(names, states, strict=True)
                ],
            },
        }
    )


@pytest.mark.parametrize(
    ("states", "phase"),
    [
        ((ENDED,), "Succeeded"),
        ((FAILED,), "Failed"),
        ((ENDED, FAILED), "Failed"),
        ((RUNS, FAILED), "Running"),
        (({}, ENDED), "Running"),
    ],
)
def test_a_pod_that_is_never_restarted_is_over_once_its_containers_are(states, phase):
    assert seen(*states).phase == phase
    assert seen(*states).over == (phase != "Running")


def test_containers_that_are_started_again_or_not_yet_known_end_no_pod():
    assert not seen(FAILED, policy="Always").over
    assert not seen(FAILED, policy="OnFailure").over
    assert not seen(ENDED, named=["c0", "other"]).over
    assert not seen(phase="Running").over


def test_a_phase_that_is_told_stands():
    assert seen(FAILED, phase="Succeeded").phase == "Succeeded"
    assert seen(FAILED, phase="Pending").phase == "Pending"
    assert seen(phase="Failed").over
