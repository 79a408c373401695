"""What a gateway writes, the operator reads: each report comes back as it was.

Holds: protocol/accounts.py, protocol/canary.py, protocol/demand.py, protocol/fields.py,
protocol/histogram.py
"""

import json

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st

from preamar.core.serving.canary.canary_analysis import LEAST_REQUESTS
from preamar.demand.accounts import AccountBook
from preamar.demand.book import DemandBook
from preamar.demand.receiver import InternalKey, application
from preamar.gateway.discovery.resources import Address, model_of
from preamar.gateway.limits.limits import Limits
from preamar.gateway.reporting import accounts as money
from preamar.gateway.reporting.accounts import Accounts
from preamar.gateway.reporting.demand import Reporter, report
from preamar.gateway.routing.canary_stats import WARM, CanaryStats
from preamar.gateway.routing.queue import ModelQueue
from preamar.protocol import accounts, canary, demand
from preamar.protocol.accounts import Account, AccountReport, Drift
from preamar.protocol.canary import AnswerDifferences, RevisionCounts, Trial
from preamar.protocol.demand import Carried, Load, Report
from preamar.protocol.histogram import BOUNDS
from preamar.protocol.sequential_test import MOST
from tests.hunting import examples

NAMES = st.text(min_size=1, max_size=253)
COUNTS = st.integers(0, 2**53 - 1)
SECONDS = st.integers(0, 10**9).map(lambda n: n / 1000)
"""As they are told, in thousandths."""
SIDES = st.builds(
    RevisionCounts, COUNTS, COUNTS, st.lists(COUNTS, max_size=len(BOUNDS) + 1).map(tuple)
)
LOGS = st.floats(-1e9, 1e9)
APARTS = st.just(AnswerDifferences()) | st.builds(
    AnswerDifferences, st.integers(1, 2**53 - 1), st.floats(0, 1e15), st.tuples(LOGS, LOGS)
)
TRIALS = st.builds(Trial, NAMES, SIDES, SIDES, APARTS)
LOADS = st.builds(
    Load, COUNTS, COUNTS, COUNTS, COUNTS, SECONDS, COUNTS, SECONDS, SECONDS,
    st.dictionaries(NAMES, st.builds(Carried, COUNTS, COUNTS), max_size=4),
    st.none() | TRIALS,
)  # fmt: skip
REPORTS = st.builds(Report, NAMES, COUNTS, st.dictionaries(NAMES, LOADS, max_size=4), st.booleans())
DECIMALS = st.from_regex(r"-?[0-9]{1,18}(\.[0-9]{1,18})?", fullmatch=True).filter(str.isascii)
ACCOUNTS = st.builds(
    Account,
    st.sampled_from(("USD", "EUR")), st.sampled_from(("2026-11", "prepaid")), DECIMALS,
    st.none() | DECIMALS, st.none() | DECIMALS,
)  # fmt: skip
DRIFTS = st.builds(
    Drift,
    st.sampled_from(("tokens", "requests")), COUNTS, COUNTS, COUNTS, COUNTS,
    st.integers(-(10**6), 10**6).map(lambda n: n / 10**6),
)  # fmt: skip
ACCOUNT_REPORTS = st.builds(
    AccountReport,
    st.dictionaries(NAMES, ACCOUNTS, max_size=4), st.dictionaries(NAMES, DRIFTS, max_size=4),
)  # fmt: skip


def sent(body):
    """Over the wire and back."""
    return json.loads(json.dumps(body).encode())


@examples(check=60, hunt=10_000)
@given(REPORTS)
def test_a_demand_report_comes_back_as_it_was(said):
    assert demand.decode(sent(demand.encode(said))) == said


@examples(check=50, hunt=10_000)
@given(TRIALS)
def test_a_trial_comes_back_as_it_was(said):
    assert canary.decode(sent(canary.encode(said))) == said


@examples(check=50, hunt=10_000)
@given(ACCOUNT_REPORTS)
def test_an_account_report_comes_back_as_it_was(said):
    assert accounts.decode(sent(accounts.encode("g", said))) == said


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


@st.composite
def spoiled(draw, reports, encode):
    """A report of which one part is something else."""
    body = encode(draw(reports))
    at = body
    while True:
        places = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not places:
            return body
        place = draw(st.sampled_from(places))
        if isinstance(at[place], dict | list) and draw(st.integers(0, 3)):
            at = at[place]
            continue
        at[place] = draw(JSON)
        return body


@examples(check=100, hunt=20_000)
@given(spoiled(REPORTS, demand.encode))
def test_a_demand_report_is_understood_or_refused_and_never_more_than_it_may_say(body):
    try:
        found = demand.decode(sent(body))
    except (ValueError, KeyError, TypeError):
        return
    for load in found.services.values():
        assert all(0 <= n < 2**53 for n in load[:8])
        assert all(0 <= n < 2**53 for pod in load.pods.values() for n in pod)
    assert demand.decode(sent(demand.encode(found))).services.keys() == found.services.keys()


@examples(check=100, hunt=20_000)
@given(spoiled(ACCOUNT_REPORTS, lambda report: accounts.encode("g", report)))
def test_an_account_report_is_understood_or_refused(body):
    try:
        found = accounts.decode(sent(body))
    except (ValueError, KeyError, TypeError):
        return
    again = accounts.decode(sent(accounts.encode("g", found)))
    assert again.tenants == found.tenants
    assert again.services.keys() == found.services.keys()


def a_line(name, trial=None):
    told = {"revision": trial, "phase": "Trying", "percent": 10}
    body = {
        "metadata": {"namespace": "demo", "name": name, "uid": name},
        "spec": {"model": {"task": "Generate"}},
        "status": {"rollout": told} if trial else {},
    }
    return ModelQueue(model_of(body), lambda line: None)


class Place:
    """What a request was given, as far as a trial looks at it."""

    good, answered = None, True

    def __init__(self, canary):
        address = Address("10.0.0.1", 8000, 8001, "p", "u", canary=canary)
        self.replica = type("Replica", (), {"address": address})


def test_what_a_gateway_reports_of_its_lines_is_what_the_operator_has():
    busy, asleep = a_line("busy", trial="r2"), a_line("asleep")
    busy.arrived = 7
    busy.worked.finished, busy.worked.busy_seconds = 6, 12.34567
    busy.worked.first_tokens, busy.worked.first_token_seconds = 5, 0.5
    tried = busy.tried = CanaryStats("r2")
    for number in range(WARM + LEAST_REQUESTS):
        tried.note(Place(canary=True), 0.02, reached=True)
        tried.note(Place(canary=False), 0.01, reached=number % 5 != 0)
    for difference in (0.5, 1.5, 2 * MOST):
        tried.differs(difference)
    book = DemandBook()
    for sequence in (1, 2):
        data = report("g", sequence, [busy, asleep], leaving=False)
        book.take(demand.decode(json.loads(data)), 100.0 + sequence)
    assert json.loads(data)["services"]["demo/asleep"] == {"queued": 0, "running": 0, "arrived": 0}
    (trial,) = book.demand("demo/busy", 102.5).trials
    assert trial == tried.counts()
    assert trial.new.requests == WARM + LEAST_REQUESTS
    assert sum(trial.new.took) == LEAST_REQUESTS
    assert trial.old.failures == sum(n % 5 == 0 for n in range(WARM + LEAST_REQUESTS))
    assert trial.apart == AnswerDifferences(3, 2 + MOST, tried.bets)
    load = demand.decode(json.loads(data)).services["demo/busy"]
    assert load[:7] == (0, 0, 7, 6, 12.346, 5, 0.5)


@pytest.fixture
async def operator(tmp_path):
    """The operator's receiver, and where it listens."""
    (tmp_path / "internal-key").write_text("secret")
    taken, book = [], AccountBook()
    key = InternalKey(tmp_path / "internal-key")
    app = application(DemandBook(), key, taken.append, book, lambda *_: None)
    statuses = []

    @web.middleware
    async def note(request, handler):
        answer = await handler(request)
        statuses.append((request.path, answer.status))
        return answer

    app.middlewares.append(note)
    async with TestClient(TestServer(app)) as client:
        yield ("127.0.0.1", client.port), statuses, taken, book


async def test_the_gateways_reporter_is_understood_by_the_operators_receiver(operator):
    where, statuses, taken, _ = operator
    line = a_line("chat", trial="r2")
    line.arrived = 3
    reporter = Reporter("g", b"secret", lambda: [line], lambda: (where,))
    await reporter._send(where, leaving=False)
    await reporter._send(where, leaving=True)
    assert statuses == [("/demand", 204)] * 2
    assert [change.changed for change in taken] == [{"demo/chat"}] * 2


async def test_the_gateways_accounts_are_understood_by_the_operators_receiver(
    operator, monkeypatch
):
    where, statuses, _, book = operator
    terms = {
        "acme": Limits(budget=5 * 10**12, currency="EUR"),
        "once": Limits(budget=10**12, prepaid=True),
        "free": Limits(),
    }

    def standings(_engine, month):
        spent = {("acme", "EUR", month): 1_500_000_000_001, ("free", "USD", month): 7}
        return money.Standings(spent, {("acme", "EUR", month): 10**12})

    monkeypatch.setattr(money, "standings", standings)
    home = type("Home", (), {"reachable": True, "engine": None})
    drift = Drift("tokens", 90, 100, 5, 9, -0.1)
    teller = Accounts(
        "g", b"secret", home, lambda: terms, lambda: {"demo/gpt": drift}, lambda: (where,)
    )
    await teller.tell()
    assert statuses == [("/accounts", 204)]
    assert book.drift("demo/gpt") == drift
    month = book.account("acme").period
    left = "2.499999999999"
    assert book.account("acme") == Account("EUR", month, "1.500000000001", "1", left)
    assert book.account("once") == Account("USD", "prepaid", "0", "0", "1")
    assert book.account("free") == Account("USD", month, "0.000000000007")
