"""Which of all the states that tests have seen are worth keeping?

First those that show something that no other kept one shows, the small before the large: a kind of
outcome, or a line of the core that ran after another. Then some of all the others, by chance, so that
what is kept is like what is seen.
"""

import sys
from random import Random

from tests.plans.kept import canonical
from tests.plans.moves import ROOMS


def outcome_of(plan):
    """What kind of plan it is: which steps, of which kinds, and what it tells for which reason."""
    if "raises" in plan:
        return plan["raises"].partition(":")[0]
    status = (plan["status"] or {}).get("status", {})
    return canonical(
        [
            plan["scale"] is not None,
            [mark["name"] for mark in plan["marks"]],
            [manifest["kind"] for manifest in plan["apply"]],
            [delete["ref"]["kind"] for delete in plan["delete"]],
            sorted({event["reason"] for event in plan["events"]}),
            sorted((c["type"], c["status"], c["reason"]) for c in status.get("conditions", ())),
            sorted(status),
        ]
    )


def ways(reconcile, arguments):
    """Which line of ours ran after which, each within one function."""
    found = set()

    def enter(frame, event, _):
        file, last = frame.f_code.co_filename, 0
        if not file.startswith(ROOMS):
            return None

        def step(frame, event, _):
            nonlocal last
            if event == "line":
                found.add((file, last, frame.f_lineno))
                last = frame.f_lineno
            return step

        return step

    sys.settrace(enter)
    try:
        reconcile(*arguments)
    finally:
        sys.settrace(None)
    return found


def chosen(candidates, first, some):
    """``candidates``: what each shows, and its size. The numbers of those to keep: all of
    ``first``, as many more as show all that is shown, and ``some`` by chance."""
    bits = {}
    masks = [sum(1 << bits.setdefault(s, len(bits)) for s in shows) for shows, _ in candidates]
    missing = (1 << len(bits)) - 1
    kept = []
    left = sorted(range(len(candidates)), key=lambda n: candidates[n][1])
    while first or missing:
        best = first[0] if first else max(left, key=lambda n: (masks[n] & missing).bit_count())
        first = first[1:]
        kept.append(best)
        left.remove(best)
        missing &= ~masks[best]
    return kept + Random(1).sample(left, min(some, len(left)))
