"""Where does the time go? Samples of stacks as a table that a person reads.

A function's share is of all samples in which some thread did something: ``with`` it and what it
calls, and in ``itself`` (in C code that it called directly too).
"""

from collections import Counter

MOST = 40
WAITS = {"_worker thread.py", "Writer._gather writer.py"}
"""Threads that wait for work, which a sampler from outside cannot tell from those that do some."""


def profiled(title: str, folded: str) -> str:
    """The table, from lines of stacks with their counts as py-spy writes them."""
    inclusive: Counter[str] = Counter()
    own: Counter[str] = Counter()
    threads: Counter[str] = Counter()
    for line in folded.splitlines():
        stack, _, count = line.rpartition(" ")
        names = [_name(frame) for frame in stack.split(";")]
        if names[-1] in WAITS:
            continue
        inclusive.update(dict.fromkeys(names, int(count)))
        own[names[-1]] += int(count)
        threads["others" if any(n.startswith("Thread.run") for n in names) else "loop"] += int(
            count
        )
    total = sum(own.values()) or 1
    lines = [title, ", ".join(f"{name} {n / total:.0%}" for name, n in threads.most_common()), ""]
    lines += [f"{'with':>6}{'itself':>8}  function"]
    lines += [
        f"{n / total:6.1%}{own[name] / total:8.1%}  {name}"
        for name, n in inclusive.most_common(MOST)
    ]
    return "\n".join(lines) + "\n"


def _name(frame: str) -> str:
    """``function module.py`` of ``function (path/module.py:line)``."""
    function, _, place = frame.partition(" (")
    return f"{function} {place.rpartition(':')[0].rpartition('/')[2]}".strip()
