"""What the rights journey concludes from the API server's log, on a log of a few lines.

Holds: e2e/journeys/audit.py, e2e/journeys/rights.py
"""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from e2e.cluster import Cluster
from e2e.journeys.audit import account
from e2e.journeys.rights import Right, forbidden, granted, used


def line(user, verb, resource, sub="", group="apps", code=200, decision="allow"):
    return json.dumps(
        {
            "user": {"username": user},
            "verb": verb,
            "objectRef": {
                "resource": resource,
                "subresource": sub,
                "apiGroup": group,
                "namespace": "team",
                "name": "x",
            },
            "requestReceivedTimestamp": "2026-01-01T00:00:00.000001Z",
            "responseStatus": {"code": code},
            "annotations": {"authorization.k8s.io/decision": decision},
        }
    )


OPERATOR = account("operator")


@pytest.fixture
def here(tmp_path):
    def written(*lines, earlier=()):
        log = tmp_path / "audit.log"
        log.write_text("".join(f"{one}\n" for one in lines))
        if earlier:
            old = tmp_path / "audit-2026-01-01T00-00-00.000.log"
            old.write_text("".join(f"{one}\n" for one in earlier))
        return Cluster(*[""] * 7, audit_log=str(log))

    return written


def test_an_apply_that_made_its_object_used_create_too(here):
    log = here(
        line(OPERATOR, "patch", "deployments", code=201),
        line(OPERATOR, "patch", "deployments", sub="status"),
    )
    assert used(log, "operator") == {
        Right("apps", "deployments", "patch"),
        Right("apps", "deployments", "create"),
        Right("apps", "deployments/status", "patch"),
    }


def test_what_others_do_and_what_is_about_no_resource_is_not_counted(here):
    health = {"user": {"username": OPERATOR}, "verb": "get", "requestURI": "/healthz"}
    log = here(line(account("gateway"), "list", "deployments"), json.dumps(health))
    assert used(log, "operator") == set()


def test_files_that_were_rotated_are_read_and_a_half_written_line_is_not(here):
    log = here(earlier=[line(OPERATOR, "get", "jobs", group="batch")])
    with Path(log.audit_log).open("a") as file:
        file.write(line(OPERATOR, "list", "pods", group="")[:40])
    assert used(log, "operator") == {Right("batch", "jobs", "get")}


def test_only_what_rights_forbid_is_asked_for_in_vain(here):
    log = here(
        line(OPERATOR, "get", "secrets", group="", code=403, decision="forbid"),
        # A namespace that ends, a quota: the right is there, and was used.
        line(OPERATOR, "patch", "deployments", code=403),
    )
    assert forbidden(log, "operator") == {Right("", "secrets", "get")}
    assert used(log, "operator") == {Right("apps", "deployments", "patch")}


def test_rights_are_read_from_the_roles_that_are_bound_to_the_account():
    def binding(kind, name, account, namespace=None):
        return {
            "metadata": {"name": name, "namespace": namespace},
            "roleRef": {"kind": kind, "name": name},
            "subjects": [
                {"kind": "ServiceAccount", "namespace": "preamar-system", "name": account}
            ],
        }

    bound = {
        "ClusterRoleBinding": [
            binding("ClusterRole", "wide", "preamar-operator"),
            binding("ClusterRole", "other", "preamar-gateway"),
        ],
        "RoleBinding": [binding("Role", "own", "preamar-operator", "preamar-system")],
    }
    roles = {
        ("wide", None): [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}],
        ("other", None): [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}],
        ("own", "preamar-system"): [
            {"apiGroups": [""], "resources": ["leases"], "verbs": ["get", "update"]}
        ],
    }
    kube = SimpleNamespace(
        list=lambda _api, kind, _namespace: bound[kind],
        get=lambda _api, _kind, name, namespace: {"rules": roles[name, namespace]},
    )
    assert granted(kube, "operator") == {
        Right("apps", "deployments", "get"),
        Right("", "leases", "get"),
        Right("", "leases", "update"),
    }
