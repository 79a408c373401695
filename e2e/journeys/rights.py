"""What operator and gateway may do in the cluster, and what they did.

Granted is read from the roles that are bound, used from the API server's log. An apply which made
its object used ``create`` beside ``patch``: the server asks for both.
"""

from collections.abc import Iterator
from typing import NamedTuple

from e2e.cluster import Cluster
from e2e.journeys.audit import SYSTEM, account, read
from e2e.kube import Json, Kube

RBAC = "rbac.authorization.k8s.io/v1"
PARTS = ("operator", "gateway")


class Right(NamedTuple):
    """One verb on one resource; the core group is empty."""

    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{'.' if self.group else ''}{self.group}"


def granted(kube: Kube, part: str) -> set[Right]:
    """By any role that is bound to the account itself."""
    return {
        Right(group, resource, verb)
        for rule in rules(kube, part)
        for group in rule.get("apiGroups") or ()
        for resource in rule.get("resources") or ()
        for verb in rule["verbs"]
    }


def rules(kube: Kube, part: str) -> Iterator[Json]:
    for kind in ("ClusterRoleBinding", "RoleBinding"):
        for binding in kube.list(RBAC, kind, None):
            subjects = binding.get("subjects") or ()
            if any(_is(subject, part) for subject in subjects):
                role = binding["roleRef"]
                inside = None if role["kind"] == "ClusterRole" else binding["metadata"]["namespace"]
                found = kube.get(RBAC, role["kind"], role["name"], inside) or {}
                yield from found.get("rules") or ()


def _is(subject: Json, part: str) -> bool:
    named = (subject["kind"], subject.get("namespace"), subject["name"])
    return named == ("ServiceAccount", SYSTEM, f"preamar-{part}")


def used(here: Cluster, part: str) -> set[Right]:
    """Since the log began."""
    found = set()
    for one in read(here):
        if one.user == account(part) and one.allowed:
            found.add(Right(one.group, one.resource, one.verb))
            if (one.verb, one.code) == ("patch", 201):
                found.add(Right(one.group, one.resource, "create"))
    return found


def forbidden(here: Cluster, part: str) -> set[Right]:
    """What was asked for in vain."""
    return {
        Right(one.group, one.resource, one.verb)
        for one in read(here)
        if one.user == account(part) and not one.allowed
    }
