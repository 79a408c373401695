"""Would the import contracts notice? One forbidden import after another is put into the graph of the
tree, and the contract that forbids it must break.

Holds: pyproject.toml
"""

import tomllib
from copy import deepcopy
from pathlib import Path

import grimp
import pytest
from importlinter import configuration
from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.contracts.independence import IndependenceContract
from importlinter.contracts.layers import LayersContract

ROOT = Path(__file__).resolve().parents[2]
configuration.configure()
KINDS = {
    "layers": LayersContract,
    "forbidden": ForbiddenContract,
    "independence": IndependenceContract,
}
WRITTEN = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
HOUSE = "one way: main over the processes over hands over thought over words"
GATEWAY = "the rooms of the gateway, from its doors to its wires"
PURE = "thought and what is agreed on are pure"
KOPF = "only the shell speaks Kopf"
KUBERNETES = "only hands touch Kubernetes"
COUNTS = "only the simulator counts with numpy and draws"

SEEDED = (
    (HOUSE, "preamar.api.meta", "preamar.protocol.histogram"),
    (HOUSE, "preamar.api.meta", "preamar.ledger.tables.prices"),
    (HOUSE, "preamar.protocol.demand", "preamar.core.plan"),
    (HOUSE, "preamar.core.plan", "preamar.gateway.errors"),
    (HOUSE, "preamar.core.plan", "preamar.ledger.tables.prices"),
    (HOUSE, "preamar.core.plan", "preamar.demand.book"),
    (HOUSE, "preamar.cluster.execute", "preamar.ledger.tables.prices"),
    (HOUSE, "preamar.demand.book", "preamar.gateway.errors"),
    (HOUSE, "preamar.shell.passes", "preamar.gateway.errors"),
    (HOUSE, "preamar.gateway.server", "preamar.shell.lease"),
    (HOUSE, "preamar.gateway.server", "preamar.cli.look.row"),
    (HOUSE, "preamar.cli.look.row", "preamar.main"),
    (GATEWAY, "preamar.gateway.wire.sse", "preamar.gateway.deadline"),
    (GATEWAY, "preamar.gateway.limits.limits", "preamar.gateway.auth.caller"),
    (GATEWAY, "preamar.gateway.discovery.catalog", "preamar.gateway.routing.queue"),
    (GATEWAY, "preamar.gateway.relay.upstream", "preamar.gateway.endpoints.embed"),
    (PURE, "preamar.core.plan", "asyncio"),
    (PURE, "preamar.protocol.demand", "time"),
    (PURE, "preamar.api.meta", "aiohttp"),
    (
        "serving and training do not know each other",
        "preamar.core.serving.reconcile",
        "preamar.core.training.step",
    ),
    (KOPF, "preamar.gateway.server", "kopf"),
    (KOPF, "preamar.protocol.demand", "kopf"),
    (KUBERNETES, "preamar.shell.passes", "kubernetes"),
    ("the ledger knows words only", "preamar.ledger.tables.schema", "preamar.core.plan"),
    ("the gateway watches and never acts", "preamar.gateway.server", "preamar.core.plan"),
    ("the gateway watches and never acts", "preamar.gateway.server", "preamar.cluster.execute"),
    ("no heavy frameworks in the operator", "preamar.cli.look.row", "torch"),
    (COUNTS, "preamar.core.plan", "numpy"),
)


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph("preamar", include_external_packages=True, cache_dir=None)


def contract(name):
    written = next(each for each in WRITTEN["contracts"] if each["name"] == name)
    options = {key: str(value) if value is True else value for key, value in written.items()}
    session = {key: value for key, value in WRITTEN.items() if key != "contracts"}
    session["root_packages"] = [session.pop("root_package")]
    return KINDS[options["type"]](name, session, options)


def test_every_contract_has_a_seeded_violation():
    assert {name for name, _, _ in SEEDED} == {each["name"] for each in WRITTEN["contracts"]}


@pytest.mark.parametrize("name", sorted({name for name, _, _ in SEEDED}))
def test_a_contract_holds_in_the_tree(name, graph):
    assert contract(name).check(deepcopy(graph), verbose=False).kept


@pytest.mark.parametrize(("name", "importer", "imported"), SEEDED)
def test_a_contract_breaks_at_a_forbidden_import(name, importer, imported, graph):
    seeded = deepcopy(graph)
    assert importer in seeded.modules
    if imported not in seeded.modules:
        assert not imported.startswith("preamar"), "a module that is gone forbids nothing"
        seeded.add_module(imported, is_squashed=True)
    seeded.add_import(importer=importer, imported=imported, line_number=1, line_contents="")
    assert not contract(name).check(seeded, verbose=False).kept


@pytest.mark.parametrize("name", [HOUSE, GATEWAY])
def test_a_room_that_has_no_place_in_the_layers_is_noticed(name, graph):
    seeded = deepcopy(graph)
    container = contract(name).contract_options["containers"][0]
    seeded.add_module(f"{container}.annexe")
    assert not contract(name).check(seeded, verbose=False).kept
