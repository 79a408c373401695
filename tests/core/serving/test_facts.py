"""What follows from an observation is worked out once in a pass, and kept nowhere beyond it.

Holds: core/serving/facts.py, core/serving/observe.py
"""

import ast
import sys
from collections import Counter
from pathlib import Path

import preamar.core.serving
from preamar.core.pods import ContainerView
from preamar.core.serving.facts import facts_of
from preamar.core.serving.observe import DeploymentView
from preamar.core.serving.reconcile import reconcile
from tests.core.builders import a_pod, a_service, later, seen
from tests.plans.kept import states_of

ONCE = {"facts_of", "identity_of", "made_of", "artefact_of", "fetch_job", "children_of"}
SERVICES = 2
"""That a pass is about: as it is asked for, and as its replicas are made."""


def asked_in(arguments):
    """How often each of ``ONCE`` was called in a pass."""
    calls = Counter()

    def hear(frame, event, _):
        if event == "call" and frame.f_code.co_name in ONCE:
            calls[frame.f_code.co_name] += 1

    before = sys.getprofile()
    sys.setprofile(hear)
    try:
        reconcile(*arguments)
    finally:
        sys.setprofile(before)
    return calls


def test_each_question_is_asked_once_of_each_service():
    plain = 0
    for state in states_of("serving"):
        calls = asked_in(state.arguments())
        passes = calls["facts_of"]
        assert passes <= SERVICES
        # The earlier service's identity tells whether there is anything to try at all.
        assert all(calls[each] <= passes + 1 for each in ONCE)
        plain += set(calls.values()) == {1}
    assert plain > 200


def test_the_replicas_that_count_are_told_from_those_that_do_not():
    service = a_service()
    up, new = a_pod(service, name="up", ready=True), a_pod(service, name="new")
    going = a_pod(service, name="going", ready=True, deleting=True)
    over = a_pod(service, name="over", phase="Failed")
    old = a_pod(a_service(model={"uri": "pvc://models/two"}), name="old", ready=True)
    facts = facts_of(seen(service, pods=(up, new, going, over, old)))
    assert facts.here == (up, new, old)
    assert facts.current == (up, new, going, over)
    assert facts.answering == (up, old)
    assert (facts.ready, facts.down, facts.loaded) == (1, (new,), True)


def test_a_pod_that_kept_crashing_is_waited_for():
    service = a_service()
    shaky = ContainerView("triton", restarts=3, running_since=later(-20))
    facts = facts_of(seen(service, pods=(a_pod(service, shaky, ready=True),)))
    assert (facts.ready, facts.steadies_in, facts.loaded) == (0, 40.0, False)


def test_a_service_that_is_made_as_it_was_needs_no_reading():
    service = a_service()
    made = facts_of(seen(service)).made_of
    facts = facts_of(seen(service, deployment=DeploymentView("d", "1", made_of=made)))
    assert facts.before is service
    assert facts.before_revision == facts.revision


def test_nothing_is_remembered_from_pass_to_pass():
    for path in Path(preamar.core.serving.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text())
        imported = {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            or (isinstance(node, ast.ImportFrom) and node.module == "functools")
            for alias in node.names
        }
        assert not imported & {"functools", "cache", "lru_cache", "cached_property"}, path
