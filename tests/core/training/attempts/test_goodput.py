"""Where a job's time went: every second has one use, whatever happened and whoever forgot it.

Holds: core/training/account.py, core/training/attempts/goodput.py, core/timestamps.py
"""

from dataclasses import replace
from datetime import timedelta
from json import dumps

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preamar.core.pods import ContainerView, Ended
from preamar.core.timestamps import moment
from preamar.core.training import account
from preamar.core.training.attempts import goodput
from preamar.core.training.attempts.goodput import USES, Attempt, Ledger
from preamar.core.training.facts import facts_of
from preamar.core.training.lifecycle import next_step
from preamar.core.training.progress import ProgressReport, Spent
from preamar.core.training.reconcile import reconcile
from preamar.protocol.labels import LEDGER, ORDER, RESTARTS
from tests.core.builders import NOW, a_job, a_rank, an_attempt, later, watched
from tests.hunting import examples

SPENT = Spent(startup=20, steps=100, saved=80, checkpoint=10, other=0)


def uses(ledger):
    return {use: round(getattr(ledger, use)) for use in USES if round(getattr(ledger, use))}


ATTEMPTS = [
    pytest.param({}, {"waiting": 30, "startup": 20, "checkpoint": 10, "useful": 240}, id="what it trains since it last spoke is useful"),
    pytest.param({"state": "Saving"}, {"waiting": 30, "startup": 20, "checkpoint": 150, "useful": 100}, id="while it saves it saves"),
    pytest.param({"state": "Starting", "spent": None}, {"waiting": 30, "startup": 270}, id="without a word it starts"),
    pytest.param({"ready": None, "spent": None}, {"waiting": 300}, id="an incomplete gang waits"),
    pytest.param({"over": True}, {"waiting": 30, "startup": 160, "checkpoint": 10, "useful": 100}, id="an end on request loses nothing"),
    pytest.param({"over": True, "failed": True}, {"waiting": 30, "startup": 20, "checkpoint": 10, "useful": 80, "rollback": 160}, id="a failure loses the steps since the checkpoint and the time until it is seen"),
    pytest.param({"resizing": True}, {"resize": 50, "checkpoint": 10, "useful": 240}, id="starting at another size is resizing"),
]  # fmt: skip


@pytest.mark.parametrize(("facts", "expected"), ATTEMPTS)
def test_an_attempt_of_five_minutes(facts, expected):
    attempt = replace(
        Attempt(start=NOW, until=later(300), ready=later(30), spent=SPENT, state="Training"),
        **facts,
    )
    after = goodput.with_attempt(Ledger(until=NOW), attempt)
    assert uses(after) == expected
    assert after.wall == pytest.approx(300)


def test_going_on_from_an_older_checkpoint_takes_its_steps_back():
    before = Ledger(useful=100, waiting=10, step=50, until=NOW)
    after = before.resumed(40)
    assert (after.useful, after.rollback, after.step) == (80, 20, 40)
    assert before.resumed(50) is before
    assert before.resumed(0).useful == 0


def test_whole_seconds_add_up_to_the_wall():
    told = goodput.told(Ledger(useful=1.4, startup=1.4, waiting=1.4, until=NOW))
    assert sum(told[f"{use}Seconds"] for use in USES) == 4


def test_a_ledger_is_read_as_it_was_written():
    ledger = Ledger(useful=1.5, rollback=2, faults=3, step=7, suspended=4, paused=1, until=NOW)
    assert Ledger.parse(str(ledger)) == ledger
    for words in (
        "",
        "{}",
        "[]",
        '{"until": "x"}',
        '{"useful": -1, "until": "2026-01-01T00:00:00Z"}',
    ):
        assert Ledger.parse(words) is None


# What may happen to a job, in seconds and flags; the test is the cluster and its clock.
second = st.integers(0, 400)
lives = st.lists(
    st.one_of(
        st.tuples(st.just("gang starts"), second),
        st.tuples(st.just("trains"), second, st.integers(0, 100), st.booleans()),
        st.tuples(st.just("fails"), second, st.sampled_from(["told", "untold", "podless"])),
        st.tuples(st.just("stops"), second),
        st.tuples(st.just("job vanishes"), second),
        st.tuples(st.just("suspended"), second),
        st.tuples(st.just("resumed"), second),
        st.tuples(st.just("looked at"), second),
    ),
    max_size=20,
)


class Life:
    """A job whose cluster is in this object; the operator is ``reconcile`` and forgets all."""

    def __init__(self):
        self.now, self.job, self.attempt, self.pods = NOW, a_job(restarts={"limit": 1000}), None, ()
        self.progress, self.origin, self.number, self.spent = None, None, 0, Spent()
        self.look()

    def look(self):
        for _ in range(3):
            jobs = (self.attempt,) if self.attempt else ()
            plan = reconcile(
                watched(self.job, now=self.now, jobs=jobs, pods=self.pods, progress=self.progress)
            )
            if plan.status:
                body = self.job.model_dump(by_alias=True, mode="json", exclude_none=True)
                self.job = type(self.job).model_validate(body | {"status": plan.status["status"]})
            for made in plan.apply:
                if made["kind"] == "Job":
                    self.number = int(made["metadata"]["name"].rpartition("-")[2])
                    notes = made["metadata"]["annotations"]
                    self.attempt = an_attempt(self.number, created=self.now, annotations=notes)
                    self.pods, self.progress, self.spent = (), None, Spent()
                    self.origin = self.origin or self.now
            for gone in plan.delete:
                if self.attempt and gone.ref.name == self.attempt.name:
                    self.attempt, self.pods, self.progress = None, (), None
        self.check()

    def check(self):
        told = self.job.status.goodput
        if self.origin is None:
            assert told is None
            return
        if told is None:
            return
        seconds = [getattr(told, f"{use}_seconds") for use in USES]
        assert min(seconds) >= 0
        assert 0 <= told.unsaved_seconds <= told.useful_seconds
        wall = (moment(told.at) - self.origin).total_seconds() - told.suspended_seconds
        assert sum(seconds) == pytest.approx(wall, abs=1)

    def event(self, name, seconds, *more):
        self.now += timedelta(seconds=seconds)
        on = self.attempt is not None and not self.attempt.over
        if name == "gang starts" and on and not self.pods:
            since = ContainerView("trainer", running_since=self.now)
            self.pods = tuple(
                replace(a_rank(n, self.number), containers=(since,)) for n in range(2)
            )
        elif name == "trains" and on and self.pods:
            steps, saves = more
            told = self.spent.steps + min(steps, seconds)
            self.spent = replace(self.spent, steps=told, saved=told if saves else self.spent.saved)
            self.progress = ProgressReport(
                self.number, "Training", step=int(told), seconds=self.spent
            )
        elif name in {"fails", "stops"} and on:
            self.end(name, *more)
        elif name == "job vanishes" and on:
            self.attempt, self.pods, self.progress = None, (), None
        elif name in {"suspended", "resumed"}:
            spec = self.job.spec.model_copy(update={"suspend": name == "suspended"})
            self.job = self.job.model_copy(update={"spec": spec})
        self.look()

    def end(self, name, evidence="told"):
        self.attempt = replace(self.attempt, failed=True, ended_at=self.now)
        code, kind = (1, "Killed") if name == "fails" else (75, None)
        words = {
            "outcome": "Failed" if kind else "Stopped",
            "class": kind,
            "seconds": {k: getattr(self.spent, k) for k in Spent.__slots__},
        }
        ready = [p.containers[0].running_since for p in self.pods]
        self.progress = None
        if evidence == "podless" or not self.pods:
            self.pods = ()
            return
        self.pods = tuple(
            replace(
                a_rank(n, self.number, code=code, words=words if evidence == "told" else ""),
                containers=(
                    ContainerView(
                        "trainer",
                        ended=Ended(
                            code,
                            "",
                            dumps(words) if evidence == "told" else "",
                            started=ready[n],
                            finished=self.now,
                        ),
                    ),
                ),
            )
            for n in range(2)
        )


@examples(25, 5000)
@given(lives)
def test_all_uses_add_up_to_wall_time_and_none_is_negative(events):
    life = Life()
    for event in events:
        life.event(*event)


def test_time_of_suspension_is_apart():
    life = Life()
    life.event("gang starts", 10)
    life.event("trains", 100, 90, True)
    life.event("stops", 5)
    life.event("suspended", 10)
    life.event("looked at", 0)
    life.event("resumed", 5000)
    life.event("gang starts", 20)
    life.event("trains", 100, 90, True)
    told = life.job.status.goodput
    assert told.suspended_seconds >= 4900
    assert told.waiting_seconds < 100
    assert told.rollback_seconds == 0


def test_steps_that_a_failure_throws_away_are_no_longer_useful():
    life = Life()
    life.event("gang starts", 10)
    life.event("trains", 100, 100, True)
    life.event("trains", 50, 50, False)
    assert life.job.status.goodput.unsaved_seconds == 50
    life.event("fails", 10, "told")
    told = life.job.status.goodput
    assert (told.useful_seconds, told.rollback_seconds, told.faults) == (100, 60, 1)


@pytest.mark.parametrize("evidence", ["untold", "podless"])
def test_a_failure_without_last_words_loses_what_the_status_knew_as_unsaved(evidence):
    life = Life()
    life.event("gang starts", 10)
    life.event("trains", 100, 100, True)
    life.event("trains", 50, 50, False)
    life.event("fails", 10, evidence)
    told = life.job.status.goodput
    assert (told.useful_seconds, told.rollback_seconds) == (100, 60)


def test_a_quiet_job_is_not_written_for_its_ledger():
    job = a_job(status={"attempt": 1})
    last = an_attempt(
        annotations={ORDER: "x", RESTARTS: "0"},
        created=later(-900),
        failed=True,
        ended_at=later(-5),
    )
    pods = (a_rank(0, code=1, words={"outcome": "Failed", "class": "Unknown"}), a_rank(1))
    first = reconcile(watched(job, jobs=(last,), pods=pods))
    body = job.model_dump(by_alias=True, mode="json", exclude_none=True)
    again = type(job).model_validate(body | {"status": first.status["status"]})
    assert reconcile(watched(again, now=later(4), jobs=(last,), pods=pods)).status is None


def test_an_attempt_is_told_of_the_time_before_it():
    life = Life()
    assert LEDGER not in life.attempt.annotations
    life.event("gang starts", 10)
    life.event("trains", 100, 100, True)
    life.event("fails", 10, "told")
    life.event("looked at", 60)
    base = Ledger.parse(life.attempt.annotations[LEDGER])
    assert (base.useful, base.faults) == (100, 1)
    facts = facts_of(watched(life.job, now=life.now, jobs=(life.attempt,)))
    now = account.current(facts, next_step(facts), account.at_the_end(facts))
    assert now.waiting == pytest.approx(10 + 60)


def test_a_rest_is_suspension_and_what_is_left_of_it_waiting():
    after = goodput.rested(Ledger(useful=5, until=NOW), later(150), 100.0)
    assert (after.suspended, after.waiting, after.useful) == (100, 50, 5)
    converting = goodput.rested(Ledger(until=NOW), later(150), 0.0, resizing=True)
    assert (converting.resize, converting.waiting) == (150, 0)
