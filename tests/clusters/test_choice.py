"""Which kind of cluster is taken, and that the reason is said.

Holds: e2e/clusters/choice.py
"""

import pytest

from e2e.clusters.choice import Choice, decide
from e2e.clusters.say import TroubleError


@pytest.mark.parametrize(
    ("asked", "engine", "kind", "taken"),
    [
        pytest.param("auto", None, False, "host", id="no engine: this machine"),
        pytest.param("auto", None, True, "host", id="kind without an engine is of no use"),
        pytest.param("auto", "docker", True, "kind", id="an engine and kind"),
        pytest.param("auto", "podman", False, "host", id="an engine alone is not enough"),
        pytest.param("kind", None, False, "kind", id="asked for"),
        pytest.param("current", "docker", True, "current", id="somebody's cluster only when asked"),
    ],
)
def test_the_kind_that_is_taken(asked: str, engine: str | None, kind: bool, taken: str) -> None:
    chosen = decide(asked, engine, kind)
    assert chosen.kind == taken
    assert chosen.reason


def test_auto_never_takes_the_current_context() -> None:
    assert {decide("auto", e, k).kind for e in (None, "docker") for k in (True, False)} == {
        "host",
        "kind",
    }


def test_a_word_that_is_no_kind_is_refused() -> None:
    with pytest.raises(TroubleError, match="minikube is not one of auto, host, kind, current"):
        decide("minikube", None, False)


def test_what_was_asked_is_the_reason() -> None:
    assert decide("host", "docker", True) == Choice("host", "PREAMAR_CLUSTER=host")
