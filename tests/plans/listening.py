"""What do tests let the two kinds plan? Stands between every test and ``reconcile``, and listens.

There are many thousands of passes: a few of each kind of outcome are kept, and some of all, by chance.
"""

import sys
from collections import Counter
from importlib import import_module
from random import Random

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.plans.choose import outcome_of
from tests.plans.codec import Writer
from tests.plans.kept import BY_HAND, KINDS, answer

TESTS = (
    "tests/core", "tests/life", "tests/shell", "tests/traces",
    "tests/cluster/test_data_objects.py", "tests/gateway/test_fit.py",
    "--deselect=tests/life/test_seeded_bugs.py",
)  # fmt: skip
QUICK = ("-q", "-p", "no:cacheprovider", "-m", "not apiserver and not cluster and not image")
LIVES = ("Resized", "Broken", "Tried", "Undecided")
"""Lives of tests/life/test_seeded_bugs.py, which are led here without a bug."""
EXAMPLES = 25
OF_EACH = 10
"""Passes of each kind of outcome."""
OF_ALL = 1500


class Heard:
    """Passes of one kind: for each the test, what was given and what was answered, as JSON."""

    def __init__(self, kind):
        self.kind, self.passes = kind, 0
        self.writer, self.chance = Writer(), Random(1)
        self.outcomes = Counter()
        self.by_hand, self.of_each, self.of_all = [], {}, {}

    def hear(self, test, arguments, plan):
        """One pass. Of all so far, each is as likely to be kept."""
        outcome = outcome_of(plan)
        self.passes += 1
        self.outcomes[outcome] += 1
        one = self._place(self.outcomes[outcome], OF_EACH)
        any_ = self._place(self.passes, OF_ALL)
        by_hand = test.startswith(BY_HAND)
        if one is None and any_ is None and not by_hand:
            return
        kept = (test, self.writer.write(arguments), plan)
        self.by_hand += [kept] if by_hand else []
        if one is not None:
            self.of_each[outcome, one] = kept
        if any_ is not None:
            self.of_all[any_] = kept

    def _place(self, seen, most):
        place = seen - 1 if seen <= most else self.chance.randrange(seen)
        return place if place < most else None


class Listener:
    """A plugin of pytest. It has to be there before any test has imported the two functions."""

    def __init__(self):
        self.test, self.heard = "", {kind: Heard(kind) for kind in KINDS}

    def __enter__(self):
        for kind, reconcile in KINDS.items():
            import_module(reconcile.__module__).reconcile = self._between(kind, reconcile)
        return self

    def __exit__(self, *_):
        for reconcile in KINDS.values():
            import_module(reconcile.__module__).reconcile = reconcile

    def _between(self, kind, reconcile):
        def between(*arguments):
            plans = []

            def once(*given):
                plans.append(reconcile(*given))
                return plans[0]

            told = answer(once, arguments)
            self.heard[kind].hear(self.test, arguments, told)
            return plans[0] if plans else reconcile(*arguments)  # raises again, as the test expects

        return between

    def pytest_runtest_setup(self, item):
        self.test = item.nodeid


def listen():
    """To all tests, and to the lives that seeded bugs are put into; by kind."""
    with Listener() as listener:
        if pytest.main([*QUICK, *TESTS], plugins=[listener]):
            sys.exit("tests fail: their plans are not worth keeping")
        bugs = import_module("tests.life.test_seeded_bugs")
        for name in LIVES:
            listener.test = f"tests/life/test_seeded_bugs.py::{name}"
            few = settings(bugs.QUICK, max_examples=EXAMPLES)
            run_state_machine_as_test(getattr(bugs, name), settings=few)
    return listener.heard
