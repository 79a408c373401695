"""What all tests share."""

import gc

from tests import hunting

hunting.load()
gc.disable()


def pytest_collection_finish():
    """What was imported and collected lives as long as the process: to look through it for garbage took
    half of the collection's time and a tenth of the tests'."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()
