"""Is spot capacity of every cloud recognised?

Holds: core/capacity/clouds.py, core/placement.py
"""

import pytest

from preamar.api.shared import Accelerator, Placement
from preamar.core.capacity.clouds import CLOUDS, SHORTEST_NOTICE
from preamar.core.placement import scheduling

SPOT_CLOUDS = [cloud for cloud in CLOUDS if cloud.spot]


def terms(capacity):
    fields = scheduling(
        Placement.model_validate({"capacity": capacity}),
        Accelerator.model_validate({"type": "CPU"}),
    )
    required = fields["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    return fields, [
        [(e["key"], e["operator"], *e["values"]) for e in term["matchExpressions"]]
        for term in required["nodeSelectorTerms"]
    ]


@pytest.mark.parametrize("cloud", SPOT_CLOUDS, ids=lambda cloud: cloud.name)
def test_spot_insists_on_machines_that_the_cloud_marks_and_tolerates_its_taints(cloud):
    fields, alternatives = terms("Spot")
    for key, value in cloud.spot:
        assert [(key, "In", value)] in alternatives
    assert set(cloud.spot_taints) <= {each["key"] for each in fields["tolerations"]}


@pytest.mark.parametrize("cloud", SPOT_CLOUDS, ids=lambda cloud: cloud.name)
def test_on_demand_keeps_away_from_machines_that_the_cloud_marks(cloud):
    fields, (together,) = terms("OnDemand")
    assert {(key, "NotIn", value) for key, value in cloud.spot} <= set(together)
    assert "tolerations" not in fields


def test_an_installation_that_does_not_say_where_it_is_trusts_the_shortest_notice():
    assert SHORTEST_NOTICE == min(cloud.notice_seconds for cloud in CLOUDS) == 30
