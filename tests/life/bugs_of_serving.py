"""Which bugs of serving must its life show? Each is one line, put in on purpose."""

import dataclasses

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
from preamar.protocol import canary as protocol_canary


def of_other_facts(real, **facts):
    """The same decision, on facts that are not so."""
    return lambda seen, *rest: real(dataclasses.replace(seen, **facts), *rest)


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


def promotes_what_answers_otherwise(patch):
    patch.setattr(protocol_canary.AnswerDifferences, "too_far", False)


def compares_other_models(patch):
    patch.setattr(answer_comparison, "_same_model", lambda before, service: True)


def takes_any_difference_for_too_far(patch):
    patch.setattr(
        protocol_canary.AnswerDifferences, "too_far", property(lambda apart: apart.compared > 0)
    )


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
