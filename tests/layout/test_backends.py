"""Is what is DeepSpeed's behind the protocol of trainers? Nothing of the core names it outside its folder
but where a user's field is called so, and one file chooses it.

Holds: core/training/backends/chosen.py, core/training/backends/backend.py,
core/training/backends/deepspeed/backend.py, core/training/backends/deepspeed/configuration.py,
core/training/backends/deepspeed/conversion.py
"""

import re
from pathlib import Path

CORE = Path(__file__).resolve().parents[2] / "operator/preamar/core"
FOLDER = CORE / "training/backends/deepspeed"
CHOSEN = CORE / "training/backends/chosen.py"
FIELD = re.compile(r"deepspeed_config|deepspeedConfig")
NAMED = re.compile(r"deepspeed|preamar-train", re.IGNORECASE)


def named(text):
    """The lines that name the trainer."""
    lines = enumerate(text.splitlines(), 1)
    return [number for number, line in lines if NAMED.search(FIELD.sub("", line))]


def test_the_trainer_is_named_in_its_folder_alone():
    elsewhere = {
        f"{path.relative_to(CORE)}:{line}"
        for path in CORE.rglob("*.py")
        if FOLDER not in path.parents and path != CHOSEN
        for line in named(path.read_text())
    }
    assert not elsewhere


def test_a_name_is_found_and_a_field_of_the_users_is_none():
    text = (
        'x = {"DeepSpeed"}\nif spec.deepspeed_config:\n    y = "deepspeedConfig"\n\nz = DEEPSPEED'
    )
    assert named(text) == [1, 5]
    assert named('command = ["preamar-train", "agent"]') == [1]


def test_one_file_chooses_the_trainer():
    assert named(CHOSEN.read_text())
    assert "BACKEND: TrainerBackend = " in CHOSEN.read_text()
