"""Would the life test notice? Each bug here is one line, put in on purpose, and must turn it red."""

import dataclasses
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test

from preamar.core import needs_apply
from preamar.core.plan import Applied, digest_of
from preamar.core.serving import reconcile as serving
from preamar.core.serving import status as told_serving
from preamar.core.serving import step
from preamar.core.serving.artifact import optimized, rollout
from preamar.core.serving.canary import answer_comparison, canary_analysis
from preamar.core.serving.health import fit, fit_kept
from preamar.core.serving.model import source
from preamar.core.serving.pods import desired, scale_down_order
from preamar.core.serving.sizing import scaling
from preamar.core.training import lifecycle
from preamar.core.training import reconcile as training
from preamar.core.training import status as told_training
from preamar.core.training.attempts import endings, lost, policy
from preamar.protocol import canary as protocol_canary
from tests.life.ranks import CONVERSION
from tests.life.test_canary import CanaryLives
from tests.life.test_engines import EngineLives
from tests.life.test_fit import FitLives
from tests.life.test_serving import ServingLives
from tests.life.test_training import TrainingLives

QUICK = settings(
    max_examples=500,
    stateful_step_count=25,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


class Resized(TrainingLives):
    """A job's life with more resizes in it than chance has."""

    @rule(replicas=st.sampled_from([1, 2, 4]), how=st.sampled_from(["", "gate", "conversion"]))
    def a_resize_runs_its_course(self, replicas, how):
        self.resizes_go_wrong(how)
        self.user_changes_the_size(replicas)
        for _ in range(3):
            self.all_goes_well(4)

    @rule()
    def a_wish_is_taken_back_while_it_is_carried_out(self):
        self.resizes_go_wrong("")
        before = self.cluster.get(self.operator.ref)["spec"]["workers"]["replicas"]
        self.user_changes_the_size(1 if before == 4 else 4)
        for _ in range(8):
            self.all_goes_well(1)
            if any(CONVERSION in p["metadata"]["labels"] for p in self.world.live_pods()):
                break
        self.user_changes_the_size(before)
        self.all_goes_well(3)


class Broken(FitLives):
    """A life that begins with what goes wrong, and with time to see what becomes of it."""

    @initialize(what=st.sampled_from(["no memory", "less memory", "crash", "edit", "first crash"]))
    def begins(self, what):
        super().begins()
        if what in {"crash", "edit"}:
            self.time_passes_while_somebody_waits(1)
        if what.endswith("memory"):
            self.memory_becomes(1 if what == "no memory" else 4)
        else:
            self.the_model_crashes()
        if what == "edit":
            self.user_changes_the_model("two")
        if what == "crash":
            self.somebody_deletes_a_pod()
        self.time_passes_while_somebody_waits(1)


class Tried(CanaryLives):
    """A life that begins with a trial of what answers alike or otherwise."""

    @initialize(
        path=st.sampled_from(["one", "two"]), making=st.sampled_from(["alike", "otherwise"])
    )
    def begins(self, path, making):
        super().begins(2)
        self.user_changes_the_model(path)
        self.user_changes_how_it_is_made(making)
        self.operator_passes(0)


def never_repairs(patch):
    real = needs_apply.due

    def only_missing(wanted, owner, children, applied, refused):
        found = real(wanted, owner, children, applied, refused)
        return tuple(m for m in found if needs_apply.ref_of(m) not in children)

    patch.setattr(serving, "due", only_missing)


def forgets_the_version_of_what_it_sent(patch):
    real = needs_apply.due

    def by_digest_alone(wanted, owner, children, applied, refused):
        as_seen = {
            r: Applied(a.digest, children[r].version if r in children else a.version)
            for r, a in applied.items()
        }
        return real(wanted, owner, children, as_seen, refused)

    patch.setattr(serving, "due", by_digest_alone)


def ignores_the_size(patch):
    real = desired.desired
    patch.setattr(serving, "desired", lambda template, replicas: real(template, 1))


def always_writes_status(patch):
    real = told_serving.status

    def with_the_time(step):
        wanted, told = real(step)
        now, version = step.facts.observed.now, step.facts.service.metadata.resource_version
        return wanted | {"url": f"x{now.timestamp()}{version}"}, told

    patch.setattr(serving, "status", with_the_time)


def follows_demand_beyond_max(patch):
    patch.setattr(scaling, "LIMITS", (scaling.load_once, scaling.cool_before_shrinking))


def never_shrinks(patch):
    real = scaling.cool_before_shrinking

    def upwards_only(policy, situation, proposed):
        found = real(policy, situation, proposed)
        kept = max(found.replicas, situation.replicas)
        return dataclasses.replace(found, replicas=kept)

    patch.setattr(scaling, "LIMITS", (scaling.load_once, upwards_only, scaling.within_bounds))


def marks_nobody(patch):
    patch.setattr(serving, "marks", lambda *_: ())


def forgets_what_earlier_marks_left(patch):
    real = scale_down_order.marks

    def always_minus_one(*arguments):
        return tuple(dataclasses.replace(mark, value="-1") for mark in real(*arguments))

    patch.setattr(serving, "marks", always_minus_one)


def halves_for_ever(patch):
    patch.setattr(fit, "HALVINGS", 99)


def never_gives_up(patch):
    patch.setattr(fit, "_hopeless", lambda *_: None)


def counts_an_old_pod_again(patch):
    def of_any_batch(pods, facts, _):
        return tuple(pod for pod in pods if pod in facts.current)

    patch.setattr(fit, "made_with", of_any_batch)


def halves_for_a_crash(patch):
    patch.setattr(fit, "exceeded", lambda container, gpu: container.last_end)


def forgets_the_batch_over_a_restart(patch):
    patch.setattr(told_serving, "told_fit", lambda *_: {})


def does_not_release(patch):
    real = desired.desired
    patch.setattr(serving, "desired", lambda t, _: real(t, t.service.spec.replicas))


def of_other_facts(real, **facts):
    """The same decision, on facts that are not so."""
    return lambda seen, *rest: real(dataclasses.replace(seen, **facts), *rest)


def releases_what_answers(patch):
    def blind(facts):
        return fit.fit_of(dataclasses.replace(facts, answering=(), down=facts.current))

    patch.setattr(step, "fit_of", blind)


def gives_up_what_was_ready(patch):
    patch.setattr(step, "fit_of", of_other_facts(fit.fit_of, loaded=False))


def stays_given_up_after_an_edit(patch):
    for module, name in ((fit, "known_fit"), (told_serving, "told_fit"), (serving, "steps")):
        real = getattr(fit_kept, name)
        patch.setattr(module, name, of_other_facts(real, edition="same", revision="same"))


def tells_no_gateway(patch):
    patch.setattr(step, "_trouble", lambda *_: None)


def starts_beside_the_old_pods(patch):
    real = lifecycle._again

    def at_once(observed, here, last):
        return real(dataclasses.replace(observed, pods=()), here, last)

    patch.setattr(lifecycle, "_again", at_once)


def counts_in_memory_only(patch):
    patch.setattr(lifecycle, "counted_before", lambda observed, last: 0)


def restarts_after_the_users_error(patch):
    rows = {kind: row for kind, row in policy.POLICIES.items() if kind not in policy.FINAL}
    patch.setattr(policy, "POLICIES", rows)


def counts_nothing(patch):
    real = training.next_step
    patch.setattr(training, "next_step", lambda o: dataclasses.replace(real(o), restarts=0))


def never_stops(patch):
    patch.setattr(training, "_stop", lambda observed, step: ())


def writes_no_status(patch):
    real = told_training.status
    patch.setattr(
        training,
        "status",
        lambda o, s, t: real(o, s, t) | {"conditions": real(o, s, t)["conditions"][:1]},
    )


def never_orders_a_stop(patch):
    patch.setattr(lifecycle.resize, "wanted", lambda observed, last: None)


def starts_without_a_conversion(patch):
    patch.setattr(lifecycle.resize, "needs_conversion", lambda observed: False)


def tries_a_failed_resize_for_ever(patch):
    patch.setattr(lifecycle.resize, "refused", lambda *_: None)


def starts_beside_the_converter(patch):
    patch.setattr(lifecycle, "converters", lambda view, pods: ())


def waits_for_an_agent_for_ever(patch):
    patch.setattr(lifecycle.resize, "overdue", lambda observed, order: False)


def counts_a_resize_that_failed(patch):
    patch.setattr(endings, "_of_a_resize", lambda job, kind: False)


def waits_for_a_lost_node(patch):
    patch.setattr(training, "without_lost", lambda observed: observed)


def takes_all_that_are_deleted_for_lost(patch):
    patch.setattr(lost, "PATIENCE", timedelta())


def tells_of_no_resize(patch):
    patch.setattr(told_training, "resizes", lambda *_: {})


def promotes_what_answers_otherwise(patch):
    patch.setattr(protocol_canary.Apart, "too_far", False)


def compares_other_models(patch):
    patch.setattr(answer_comparison, "_same_model", lambda before, service: True)


def takes_any_difference_for_too_far(patch):
    patch.setattr(protocol_canary.Apart, "too_far", property(lambda apart: apart.compared > 0))


def compares_for_ever(patch):
    patch.setattr(canary_analysis, "LEAST_COMPARED", 10**9)
    patch.setattr(rollout, "PATIENCE", 10**9)


def leaves_the_jobs_of_wishes_that_are_past(patch):
    patch.setattr(serving, "abandoned", lambda *_: ())


def takes_one_engine_for_all(patch):
    # As if the first product stood for the others.
    def first(facts):
        made = facts.artefact
        one = made and dataclasses.replace(made, jobs=made.jobs[:1])
        return optimized.optimized(dataclasses.replace(facts, artefact=one))

    patch.setattr(step, "optimized", first)


def forgets_the_batch_that_an_engine_is_for(patch):
    def digest(words):
        return digest_of(words | ({"engine": words["engine"][:1]} if "engine" in words else {}))

    patch.setattr(source, "digest_of", digest)


SERVING = (
    never_repairs,
    forgets_the_version_of_what_it_sent,
    ignores_the_size,
    always_writes_status,
    follows_demand_beyond_max,
    never_shrinks,
    marks_nobody,
    forgets_what_earlier_marks_left,
)
FITTING = (
    halves_for_ever,
    never_gives_up,
    counts_an_old_pod_again,
    halves_for_a_crash,
    forgets_the_batch_over_a_restart,
    does_not_release,
    releases_what_answers,
    gives_up_what_was_ready,
    stays_given_up_after_an_edit,
    tells_no_gateway,
)


class Undecided(EngineLives):
    """A life of wishes that come and go. Nobody empties the volume: what is gone, a Job has removed."""

    somebody_empties_the_volume = None

    @rule(good=st.integers(1, 4))
    def wishes_go_round(self, good):
        for precision in ("INT8", "FP8", "FP16", "INT8"):
            self.user_changes_the_precision(precision)
            for _ in range(3):
                self.all_goes_well(good)


COMPILING = (
    leaves_the_jobs_of_wishes_that_are_past,
    takes_one_engine_for_all,
    forgets_the_batch_that_an_engine_is_for,
)
TRYING = (
    promotes_what_answers_otherwise,
    compares_other_models,
    takes_any_difference_for_too_far,
    compares_for_ever,
)
TRAINING = (
    starts_beside_the_old_pods,
    counts_in_memory_only,
    restarts_after_the_users_error,
    counts_nothing,
    never_stops,
    writes_no_status,
    never_orders_a_stop,
    starts_without_a_conversion,
    tries_a_failed_resize_for_ever,
    starts_beside_the_converter,
    waits_for_an_agent_for_ever,
    counts_a_resize_that_failed,
    tells_of_no_resize,
    waits_for_a_lost_node,
    takes_all_that_are_deleted_for_lost,
)


@pytest.mark.parametrize("bug", SERVING, ids=lambda bug: bug.__name__)
def test_the_life_of_a_service_shows_a_bug(bug, monkeypatch):
    bug(monkeypatch)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(ServingLives, settings=QUICK)


@pytest.mark.parametrize("bug", FITTING, ids=lambda bug: bug.__name__)
def test_the_life_of_what_does_not_fit_shows_a_bug(bug, monkeypatch):
    bug(monkeypatch)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Broken, settings=settings(QUICK, stateful_step_count=4))


@pytest.mark.parametrize("bug", TRYING, ids=lambda bug: bug.__name__)
def test_the_life_of_a_trial_shows_a_bug(bug, monkeypatch):
    bug(monkeypatch)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Tried, settings=settings(QUICK, stateful_step_count=4))


@pytest.mark.parametrize("bug", COMPILING, ids=lambda bug: bug.__name__)
def test_the_life_of_engines_shows_a_bug(bug, monkeypatch):
    bug(monkeypatch)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Undecided, settings=QUICK)


@pytest.mark.parametrize("bug", TRAINING, ids=lambda bug: bug.__name__)
def test_the_life_of_a_job_shows_a_bug(bug, monkeypatch):
    bug(monkeypatch)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Resized, settings=QUICK)
