"""The openai client of Node.js as it is; skipped, with a word, where there is no Node.js."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from e2e.clients.models import STORY, WORDS, chat, told
from e2e.cluster import Cluster

HERE = Path(__file__).with_name("node")
PROMPT, COUNT = "High tide lifts", 24
pytestmark = pytest.mark.usefixtures("models")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The calls beside the locked package."""
    missing = [name for name in ("node", "npm") if not shutil.which(name)]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not found: install Node.js 20 or newer to try it")
    place = tmp_path_factory.mktemp("node")
    for path in HERE.iterdir():
        if path.is_file():
            shutil.copy2(path, place)
    subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=place,
        check=True,
        capture_output=True,
        timeout=300,
    )
    return place / "calls.mjs"


def test_answers_streams_and_errors(here: Cluster, program: Path) -> None:
    given = {
        "url": here.gateway_url,
        "key": here.key(),
        "story": STORY,
        "words": WORDS,
        "prompt": PROMPT,
        "count": COUNT,
    }
    done = subprocess.run(
        ["node", program],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    answer = told(chat(("user", PROMPT)), COUNT)
    assert set(got["models"]) >= {STORY, WORDS}
    assert got["dimensions"] == [384, 384]
    assert got["completion"] == told(PROMPT, COUNT)
    assert got["chat"] == answer
    assert "".join(got["pieces"]) == answer
    assert len(got["pieces"]) > 3
    assert got["usage"]["completion_tokens"] == COUNT
    assert got["badKey"] == {"status": 401, "code": "invalid_api_key"}
    assert got["unknown"] == {"status": 404, "code": "model_not_found"}
