"""Does each cloud's preset say what is true of that cloud?

Holds: core/capacity/clouds.py, e2e/presets.py
"""

from pathlib import Path

import pytest
import yaml

from e2e.presets import CHART, main, preset
from preamar.core.capacity.clouds import CLOUDS

NOTICES = {"eks": 120, "gke": 30, "aks": 30, "onprem": 30}


@pytest.mark.parametrize("cloud", CLOUDS, ids=lambda cloud: cloud.name)
def test_the_preset_tells_the_operator_how_long_before_its_cloud_takes_a_machine(cloud, render):
    values = yaml.safe_load((CHART / f"values-{cloud.name}.yaml").read_text())
    (operator,) = (
        container
        for body in render(values)
        if body["kind"] == "Deployment" and body["metadata"]["name"].endswith("operator")
        for container in body["spec"]["template"]["spec"]["containers"]
    )
    told = {each["name"]: each.get("value") for each in operator["env"]}
    assert told["PREAMAR_SPOT_NOTICE_SECONDS"] == str(NOTICES[cloud.name])


@pytest.mark.parametrize("cloud", CLOUDS, ids=lambda cloud: cloud.name)
def test_the_preset_on_disk_is_what_its_row_says(cloud):
    assert (CHART / f"values-{cloud.name}.yaml").read_text() == preset(cloud)


def test_there_is_a_row_for_each_preset_and_a_preset_for_each_row():
    assert {p.stem for p in CHART.glob("values-*.yaml")} == {f"values-{c.name}" for c in CLOUDS}


def test_a_preset_that_was_edited_by_hand_is_stale_until_it_is_made_anew(tmp_path: Path, capsys):
    assert main(["--chart", str(tmp_path)]) == 0
    assert main(["--chart", str(tmp_path), "--check"]) == 0
    edited = tmp_path / "values-eks.yaml"
    edited.write_text(edited.read_text().replace("spotNoticeSeconds: 120", "spotNoticeSeconds: 30"))
    assert main(["--chart", str(tmp_path), "--check"]) == 1
    assert "values-eks.yaml is stale" in capsys.readouterr().out
