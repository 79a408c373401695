"""How long do tests that draw their examples look, and what becomes of what they find?

`make check` draws few, the same ones in each run. `make hunt` draws many, others in each shard and
round, and keeps in the corpus what fails. What is kept there is tried again by each `make check`.
"""

import hashlib
import os
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis.database import ExampleDatabase

CORPUS = Path(os.environ.get("PREAMAR_CORPUS", Path(__file__).parent / "corpus"))
PROFILES = {
    "check": {"derandomize": True},
    "hunt": {"phases": [Phase.generate, Phase.shrink]},
    "replay": {"phases": [Phase.explicit, Phase.reuse]},
}
PROFILE = os.environ.get("PREAMAR_HYPOTHESIS", "check")
HUNTS = PROFILE == "hunt"


def examples(check: int, hunt: int, **more) -> settings:
    """As many as the profile has time for."""
    return settings(max_examples=hunt if HUNTS else check, **more)


def load() -> None:
    """Neither profile holds a test to a time: how long an example takes says how busy the machine is.

    Draws that are the same in each run exclude a database, which is why what is kept is replayed by
    a profile of its own.
    """
    profile = {"max_examples": 5000 if HUNTS else 50, "deadline": None}
    profile["suppress_health_check"] = [HealthCheck.too_slow]
    kept = {} if PROFILE == "check" else {"database": Found(), "report_multiple_bugs": False}
    settings.register_profile("preamar", **profile, **kept, **PROFILES[PROFILE])
    settings.load_profile("preamar")


class Found(ExampleDatabase):
    """Draws that have failed, by the test that runs: Hypothesis's own key is the test's source, and
    each edit would lose them. One that fails no more stays; only the shrinking of it goes."""

    def __init__(self) -> None:
        super().__init__()
        self._mine: set[Path] = set()

    def save(self, key: bytes, value: bytes) -> None:
        if HUNTS and not _aside(key):
            where = place(running()) / _name(value)
            if not where.exists():
                self._mine.add(where)
                where.parent.mkdir(parents=True, exist_ok=True)
                (where.parent / "test").write_text(running() + "\n")
                where.write_bytes(value)

    def fetch(self, key: bytes):
        if not _aside(key):
            yield from (each.read_bytes() for each in sorted(place(running()).glob("*.draws")))

    def delete(self, key: bytes, value: bytes) -> None:
        where = place(running()) / _name(value)
        if where in self._mine:
            self._mine.remove(where)
            where.unlink()


def running() -> str:
    """The test that runs, as pytest calls it."""
    return os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0]


def place(test: str) -> Path:
    """Where draws of that test are kept."""
    return CORPUS / "draws" / hashlib.sha256(test.encode()).hexdigest()[:16]


def kept() -> list[str]:
    """The tests of which draws are kept."""
    return sorted({each.read_text().strip() for each in CORPUS.glob("draws/*/test")})


def _aside(key: bytes) -> bool:
    """Whether Hypothesis keeps there what is not the smallest."""
    return key.endswith((b".secondary", b".pareto"))


def _name(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()[:16] + ".draws"
