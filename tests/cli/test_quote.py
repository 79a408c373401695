"""``preamar quote`` as people call it: what it prints, and how it ends.

Holds: cli/quote/command.py, cli/quote/table.py, main.py
"""

import json
import sys

import pytest
import yaml

from preamar.main import main

JOB = {
    "apiVersion": "preamar.dev/v1alpha1",
    "kind": "TrainingJob",
    "metadata": {"name": "gpt"},
    "spec": {
        "model": {"preset": "gpt-base"},
        "batch": {"global": 512},
        "workers": {"replicas": 2, "min": 1, "max": 4, "ranksPerWorker": 8},
        "accelerator": {"products": ["NVIDIA-H100-80GB-HBM3"], "count": 8},
        "data": {"sources": [{"name": "books", "uri": "pvc://data/books"}]},
        "checkpoint": {"uri": "pvc://c/gpt"},
        "steps": 20_000,
    },
}
FLEET = {"devices": [{"name": "H100", "pricePerHour": "2.50"}]}


@pytest.fixture
def quoted(tmp_path, capsys):
    def call(job=JOB, *flags, fleet=None, like=None):
        arguments = ["quote", "-f", str(tmp_path / "job.yaml"), *flags]
        (tmp_path / "job.yaml").write_text(
            yaml.safe_dump_all(job if isinstance(job, list) else [job])
        )
        for name, words in (("fleet", fleet), ("like", like)):
            if words is not None:
                (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(words))
                arguments += [f"--{name}", str(tmp_path / f"{name}.yaml")]
        code = main(arguments)
        return code, *capsys.readouterr()

    return call


def test_a_table_says_what_is_needed_and_what_is_not_known(quoted):
    code, out, err = quoted()
    assert (code, err) == (0, "")
    name, head, row = out.splitlines()
    assert name == "gpt"
    assert head.split() == ["RANKS", "MEMORY/RANK", "TIME", "COST", "ENERGY", "ON", "BASIS"]
    assert row.startswith("16 ")
    assert " unknown " in row
    assert "± 40 %" in row


def test_with_a_price_there_is_a_cost_and_with_sizes_a_row_for_each(quoted):
    code, out, _ = quoted(JOB, "--sizes", "-o", "wide", fleet=FLEET)
    assert code == 0
    rows = out.splitlines()[2:]
    assert [row.split()[0] for row in rows] == ["8", "16", "32"]
    assert all(" USD ± 40 % " in row for row in rows)


def test_json_is_what_status_would_say_and_the_parts_of_a_step(quoted):
    _, out, _ = quoted(JOB, "-o", "json", fleet=FLEET)
    (found,) = json.loads(out)["quotes"]
    assert (found["ranks"], found["accelerator"], found["currency"]) == (16, "H100", "USD")
    assert sum(found["stepSeconds"].values()) * 20_000 == pytest.approx(found["seconds"], rel=0.01)


def test_another_jobs_speed_is_taken_over_by_the_flops_of_a_sample(quoted):
    like = JOB | {
        "status": {"quote": {"basis": "Measured", "samplesPerSecond": "100", "worldSize": 16}}
    }
    _, out, _ = quoted(JOB, "-o", "json", like=like)
    (found,) = json.loads(out)["quotes"]
    assert (found["seconds"], found["basis"]) == (20_000 * 512 / 100, "Measured")
    deeper = JOB | {
        "spec": JOB["spec"] | {"model": {"preset": "gpt-base", "parameters": {"layers": 24}}}
    }
    _, out, _ = quoted(deeper, "-o", "json", like=like)
    assert json.loads(out)["quotes"][0]["seconds"] > 1.5 * found["seconds"]


def test_a_job_that_cannot_run_is_told_and_ends_with_1(quoted):
    spec = JOB["spec"] | {"batch": {"global": 24}}
    code, out, err = quoted(JOB | {"spec": spec})
    assert (code, out) == (1, "")
    assert "gpt: A global batch of 24 cannot be split" in err


def test_a_budget_that_cannot_be_kept_is_told_beside_the_quote(quoted):
    spec = JOB["spec"] | {"budget": {"limit": "1"}}
    code, out, err = quoted(JOB | {"spec": spec}, fleet=FLEET)
    assert code == 1
    assert "USD" in out
    assert "spec.budget.limit is 1" in err


@pytest.mark.parametrize(
    ("job", "fleet", "words"),
    [
        ({"kind": "Pod"}, None, "holds no TrainingJob"),
        (JOB | {"spec": {"steps": -1}}, None, "steps"),
        (JOB, {"devices": [{"name": "X"}]}, "not in the catalogue"),
    ],
)
def test_bad_input_is_one_sentence_and_2(quoted, job, fleet, words):
    code, out, err = quoted(job, fleet=fleet)
    assert (code, out) == (2, "")
    assert err.startswith("preamar quote: ")
    assert words in err


def test_a_file_that_is_missing_or_no_yaml_is_told(tmp_path, capsys):
    assert main(["quote", "-f", str(tmp_path / "no.yaml")]) == 2
    assert "cannot be read" in capsys.readouterr().err
    (tmp_path / "bad.yaml").write_text("a: [")
    assert main(["quote", "-f", str(tmp_path / "bad.yaml")]) == 2
    assert "is not YAML" in capsys.readouterr().err


def test_quoting_loads_neither_numpy_nor_kubernetes(quoted):
    before = set(sys.modules)
    quoted()
    assert not {"numpy", "matplotlib", "kubernetes", "kopf"} & (set(sys.modules) - before)


def test_the_operator_refuses_a_fleet_that_it_cannot_read(tmp_path, capsys):
    (tmp_path / "fleet.yaml").write_text("devices: 3")
    assert main(["operator", "--fleet", str(tmp_path / "fleet.yaml")]) == 2
    assert "devices must be a list" in capsys.readouterr().err
