"""Which plans hold? ``python -m tests.plans.record`` listens to all tests and keeps a choice anew.

Run it in the root of the tree, with ``PYTHONPATH=operator:workloads/triton:workloads/deepspeed``; it
takes some minutes. Tests then hold that each plan stays what it was (test_recorded_plans.py).

Record anew only when a plan is meant to change, in the commit that changes it, and say in its message
which plans differ and why: first look at what the red test says. A change that only moves or renames
code must leave the files alone; a class or field with another name gets a row in codec.py.

States that a pass in a test saw while something was replaced there (a seeded bug) are not kept: each
is planned again without. Nor are those that a test had by this machine's clock.
"""

import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from statistics import median

from tests.plans.choose import chosen, outcome_of, ways
from tests.plans.codec import Reader, Writer
from tests.plans.kept import BY_HAND, KINDS, answer, canonical, keep, path_of
from tests.plans.listening import listen
from tests.plans.moves import moves

BY_CHANCE = 150
"""States that are kept beside those that show something which no other does."""


def usable(heard):
    """The states of which the same plan is made here, each once, and how many others there are."""
    reconcile, reader = KINDS[heard.kind], Reader(heard.writer.classes)
    found, dropped = {}, Counter()
    now = datetime.now(UTC)
    for test, given, plan in (*heard.by_hand, *heard.of_each.values(), *heard.of_all.values()):
        arguments = reader.read(given)
        if abs(arguments[0].now - now) < timedelta(days=1):
            dropped["had by this machine's clock"] += 1
        elif answer(reconcile, arguments) != plan:
            dropped["planned with something replaced"] += 1
        elif (again := Writer()).write(arguments) != given:
            dropped["read otherwise than written"] += 1
        elif Reader(again.classes).read(given) != arguments:
            dropped["not equal to itself"] += 1
        else:
            found.setdefault(canonical(given), (test, arguments, plan))
    return list(found.values()), dropped


def record(heard):
    """Choose and keep; what has been done, in words."""
    reconcile = KINDS[heard.kind]
    states, dropped = usable(heard)
    shown = [
        (
            ways(reconcile, arguments) | {outcome_of(plan)},
            len(canonical([Writer().write(arguments), plan])),
        )
        for _, arguments, plan in states
    ]
    first = [n for n, (test, *_) in enumerate(states) if test.startswith(BY_HAND)]
    kept = [states[n] for n in chosen(shown, first, BY_CHANCE)]
    keep(heard.kind, kept)
    reader = Reader(heard.writer.classes)
    of_all = [moves(reconcile, reader.read(given)) for _, given, _ in heard.of_all.values()]
    of_kept = [moves(reconcile, arguments) for _, arguments, _ in kept]
    return (
        f"{heard.kind}: {heard.passes} passes, {len(heard.outcomes)} kinds of outcome; "
        f"of {len(states)} states {len(kept)} are kept, in {path_of(heard.kind).stat().st_size} "
        f"bytes; moves between files: median {median(of_kept)} of the kept, "
        f"{median(of_all)} of all; left out: {dict(dropped)}\n"
    )


if __name__ == "__main__":
    for each in listen().values():
        sys.stdout.write(record(each))
