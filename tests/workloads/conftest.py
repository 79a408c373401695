"""What do tests of workloads not wait for? The disk: nothing here asks what outlives a power cut, and
on a busy machine each wait for one takes longer than the test around it."""

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def unhurried_disks():
    """Files are written as ever, and nobody waits until they are on the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield
