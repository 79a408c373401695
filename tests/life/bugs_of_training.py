"""Which bugs of training must its life show? Each is one line, put in on purpose."""

import dataclasses
from datetime import timedelta

from preamar.core.training import leftovers, lifecycle
from preamar.core.training import reconcile as training
from preamar.core.training import status as told_training
from preamar.core.training.attempts import endings, lost, policy
from preamar.core.training.backends.deepspeed.backend import DeepSpeed
from preamar.core.training.elastic import size
from preamar.core.training.rules import ended


def starts_beside_the_old_pods(patch):
    rules = tuple(each for each in lifecycle.ENDED if each is not ended.leaves_pods)
    patch.setattr(lifecycle, "ENDED", rules)


def counts_in_memory_only(patch):
    patch.setattr(lifecycle, "counted_before", lambda facts: 0)


def restarts_after_the_users_error(patch):
    rows = {kind: row for kind, row in policy.POLICIES.items() if kind not in policy.FINAL}
    patch.setattr(policy, "POLICIES", rows)


def counts_nothing(patch):
    real = training.next_step
    patch.setattr(training, "next_step", lambda o: dataclasses.replace(real(o), restarts=0))


def never_stops(patch):
    patch.setattr(leftovers, "_stopped", lambda facts, step: ())


def writes_no_status(patch):
    real = told_training.status
    patch.setattr(
        training,
        "status",
        lambda *given: real(*given) | {"conditions": real(*given)["conditions"][:1]},
    )


def never_orders_a_stop(patch):
    patch.setattr(lifecycle.resize, "wanted", lambda *_: lifecycle.resize.NONE)


def starts_without_a_conversion(patch):
    patch.setattr(DeepSpeed, "converts", staticmethod(lambda spec: False))


def tries_a_failed_resize_for_ever(patch):
    patch.setattr(size, "refused", lambda *_: None)


def starts_beside_the_converter(patch):
    patch.setattr(ended, "_a_converter_writes", lambda facts: False)


def waits_for_an_agent_for_ever(patch):
    patch.setattr(lifecycle.resize, "overdue", lambda facts, order: False)


def counts_a_resize_that_failed(patch):
    patch.setattr(endings, "_of_a_resize", lambda job, kind: False)


def waits_for_a_lost_node(patch):
    patch.setattr(training, "without_lost", lambda observed: observed)


def takes_all_that_are_deleted_for_lost(patch):
    patch.setattr(lost, "PATIENCE", timedelta())


def tells_of_no_resize(patch):
    patch.setattr(told_training, "resizes", lambda *_: {})


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
