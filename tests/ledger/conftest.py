"""The ledger on both of its databases."""

from itertools import count

import pytest

from preamar.ledger.store.postgres import open_postgres, prepare
from tests.ledgers import a_ledger, tmp_path, tmp_path_factory
from tests.postgres import postgres

__all__ = ["postgres", "tmp_path", "tmp_path_factory"]
_NUMBERS = count()


@pytest.fixture
def database(request):
    """The URL of an empty PostgreSQL database."""
    return request.getfixturevalue("postgres").fresh(f"test{next(_NUMBERS)}")


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request, tmp_path):
    if request.param == "sqlite":
        engine = a_ledger(tmp_path / "ledger.sqlite")
    else:
        engine = open_postgres(request.getfixturevalue("database"))
        prepare(engine)
    yield engine
    engine.dispose()
