"""The API server and our models give every document the same verdict, and the same defaults.

Holds: api/checkpoints.py, api/interconnect.py, api/models.py, api/prepare.py, api/recipe.py,
api/scaling.py, api/shared.py, api/fields/names.py, api/fields/scalars.py
"""

import os
import random
from collections import Counter
from typing import Any

import pytest

from tests.api.documents import plain, spoil
from tests.api.judges import MODELS, Verdict, model_says

pytestmark = pytest.mark.apiserver
COUNT = int(os.environ.get("PREAMAR_DOCUMENTS", "10000"))
SEED = 20270131
# The two larger kinds have most of what can be said.
SHARE = {"InferenceService": 45, "TrainingJob": 45, "Tenant": 10}


def drawn(crds, count: int, seed: int = SEED) -> list[tuple[str, Any]]:
    rng = random.Random(seed)
    kinds = rng.choices(list(SHARE), list(SHARE.values()), k=count)
    return [(kind, draw(kind, crds[kind], rng)) for kind in kinds]


def draw(kind: str, crd: dict[str, Any], rng: random.Random) -> Any:
    """Mostly something good, spoiled in up to two places."""
    made = plain(crd, rng)
    for _ in range(40 if rng.random() < 0.9 else 0):
        if model_says(kind, made).accepted:
            break
        made = plain(crd, rng)
    for _ in range(rng.choice((0, 0, 1, 1, 1, 2))):
        spoil(crd, made, rng)
    return made


def as_stored(kind: str, document: Any) -> Any:
    """What the models make of a document, as JSON."""
    return comparable(MODELS[kind].model_validate(document).json_body()["spec"])


def comparable(value: Any) -> Any:
    """Bare quantities as text, the one thing that the models write differently."""
    if isinstance(value, dict):
        told = {k: comparable(v) for k, v in value.items() if k != "deepspeedConfig"}
        for name in ("requests", "limits"):
            if isinstance(told.get(name), dict):
                told[name] = {k: str(v) for k, v in told[name].items()}
        if isinstance(told.get("stageSize"), int):
            told["stageSize"] = str(told["stageSize"])
        return told
    return [comparable(v) for v in value] if isinstance(value, list) else value


def has_whole_float(value: Any) -> bool:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return any(has_whole_float(v) for v in inner)
    return isinstance(value, float) and value.is_integer()


def disagreements(documents: list[tuple[str, Any]], verdicts: list[Verdict]) -> list[str]:
    found = []
    for (kind, made), server in zip(documents, verdicts, strict=True):
        model = model_says(kind, made)
        if has_whole_float(made) and not server.accepted:
            # Clients write whole numbers as such. 1.0 the server refuses in some places and
            # takes in others; where it does, the operator must be able to read it.
            continue
        if model.accepted != server.accepted:
            found.append(
                f"{kind}: server {'accepts' if server.accepted else 'refuses'} {server.said[:300]!r}, "
                f"model {'accepts' if model.accepted else 'refuses'} {model.said[:300]!r}: {made}"
            )
        elif server.accepted and as_stored(kind, made) != comparable(server.body["spec"]):
            found.append(
                f"{kind}: stored by the server {comparable(server.body['spec'])}, "
                f"by the model {as_stored(kind, made)}: {made}"
            )
    return found


@pytest.mark.parametrize("count", [500, COUNT])
def test_server_and_models_agree_on_generated_documents(server, crds, count):
    documents = drawn(crds, count, SEED + (count == COUNT))
    verdicts = server.says_all(documents)
    found = disagreements(documents, verdicts)
    assert not found, f"{len(found)} of {count} differ, such as:\n" + "\n".join(found[:5])
    counts = Counter((kind, v.accepted) for (kind, _), v in zip(documents, verdicts, strict=True))
    for kind in SHARE:
        share = counts[kind, True] / (counts[kind, True] + counts[kind, False])
        assert 0.2 < share < 0.8, f"{kind}: {share:.0%} accepted proves little"


def test_a_rule_that_only_one_judge_knows_is_found(server, crds, monkeypatch):
    from preamar.api.scaling import Scaling

    monkeypatch.setattr(Scaling, "rules", ())
    documents = drawn(crds, 4000)
    assert disagreements(documents, server.says_all(documents))
