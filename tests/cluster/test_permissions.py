"""The chart grants what the operator uses: not a verb less, and not one more.

Holds: cluster/kinds.py, cluster/permissions.py, charts/preamar/
"""

from pathlib import Path

import pytest
import yaml

from preamar.cluster.kinds import PLURALS
from preamar.cluster.permissions import OPERATOR

RULES = Path(__file__).resolve().parents[2] / "charts/preamar/templates/rbac/_rules.tpl"


def granted(name: str) -> set[tuple[str, str, str]]:
    text = RULES.read_text()
    block = text.split(f'{{{{- define "preamar.{name}" -}}}}')[1].split("{{- end -}}")[0]
    return {
        (group, resource, verb)
        for rule in yaml.safe_load(block)
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize(
    ("where", "name"), [("watched", "rules.operator"), ("cluster", "clusterRules.operator")]
)
def test_the_chart_grants_exactly_what_is_used(where, name) -> None:
    used = {
        (rule.group, rule.resource, verb)
        for rule in OPERATOR
        if rule.where == where
        for verb in rule.verbs
    }
    assert granted(name) == used


@pytest.mark.parametrize("rule", OPERATOR, ids=lambda rule: rule.resource)
def test_no_right_is_dangerous(rule) -> None:
    assert rule.resource not in {"secrets", "pods/exec", "nodes", "serviceaccounts/token"}
    assert not {"*", "deletecollection", "escalate", "bind", "impersonate"} & set(rule.verbs)
    assert "*" not in {rule.group, rule.resource}
    assert rule.resource.split("/")[0] in PLURALS.values()
