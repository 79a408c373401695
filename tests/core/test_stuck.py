"""A disk that is made for a pod takes longer than a node that is free is found.

Holds: core/stuck.py
"""

import pytest

from preamar.core.pods import PodView
from preamar.core.stuck import stuck
from tests.core.builders import NOW, later

UNBOUND = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found"


@pytest.mark.parametrize(
    ("said", "age", "left"),
    [
        ("1 Insufficient nvidia.com/gpu", 5, 10),
        ("1 Insufficient nvidia.com/gpu", 20, None),
        (UNBOUND, 20, 70),
        (UNBOUND, 100, None),
    ],
)
def test_what_may_heal_is_given_its_time(said, age, left):
    found = stuck((PodView("p", "p", created=later(-age), unschedulable=said),), NOW)
    assert found.in_grace == left
    assert said in found.message
