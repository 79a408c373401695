"""The chart renders what parts rely on, grants little, and refuses mistakes.

Holds: main.py, gateway/settings.py, charts/preamar/
"""

import re
from pathlib import Path

import pytest
import yaml
from helm_python import HelmError, lint

from preamar.main import main as command
from preamar.protocol.engines import images
from preamar.protocol.images import value_of, variable_of
from tests.chart.conftest import CHART

PRESETS = sorted(CHART.glob("values-*.yaml"))


def named(manifests, kind, name):
    found = [m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name]
    assert len(found) == 1, [(m["kind"], m["metadata"]["name"]) for m in manifests]
    return found[0]


def pod_of(manifests, part):
    return named(manifests, "Deployment", f"preamar-{part}")["spec"]["template"]["spec"]


def env_of(container):
    return {e["name"]: e.get("value") for e in container["env"]}


def test_helm_finds_nothing_to_complain_of():
    found = lint(str(CHART), strict=True)
    assert not found["errors"]
    assert {m["error"] for m in found["messages"]} <= {"icon is recommended"}


def test_names_are_those_that_parts_rely_on(render):
    manifests = render()
    operator = named(manifests, "Service", "preamar-operator")["spec"]
    assert operator["clusterIP"] == "None"
    assert operator["publishNotReadyAddresses"] is True
    assert {p["name"]: p["port"] for p in operator["ports"]} == {"metrics": 8090, "demand": 8091}
    gateway = named(manifests, "Service", "preamar-gateway")["spec"]
    assert {p["name"]: p["port"] for p in gateway["ports"]} == {
        "data": 8080,
        "admin": 8081,
        "grpc": 8082,
    }


def test_every_service_selects_the_pods_of_one_deployment(render):
    manifests = render()
    labels = {
        m["metadata"]["name"]: m["spec"]["template"]["metadata"]["labels"]
        for m in manifests
        if m["kind"] == "Deployment"
    }
    for service in (m for m in manifests if m["kind"] == "Service"):
        selector = service["spec"]["selector"].items()
        assert sum(selector <= pod.items() for pod in labels.values()) == 1


def test_the_operator_can_read_the_internal_key_only(render):
    volumes = {v["name"]: v for v in pod_of(render(), "operator")["volumes"]}
    assert [i["key"] for i in volumes["secrets"]["secret"]["items"]] == ["internal-key"]


def test_streams_have_time_to_end(render):
    from preamar.gateway.settings import FLAGS

    defaults = {flag.name: flag.default for flag in FLAGS}
    needed = defaults["propagation-seconds"] + defaults["grace-seconds"]
    assert pod_of(render(), "gateway")["terminationGracePeriodSeconds"] > needed


@pytest.mark.parametrize("part", ["operator", "gateway"])
def test_every_environment_variable_is_one_that_the_program_reads(render, part, capsys):
    container = pod_of(render(), part)["containers"][0]
    with pytest.raises(SystemExit):
        command([part, "--help"])
    told = " ".join(capsys.readouterr().out.split())
    # The operator's help names each variable; the gateway's are all named after their flags.
    known = set(re.findall(r"\[([A-Z_]+);", told))
    if "PREAMAR_<FLAG>" in told:
        flags = re.findall(r"--([a-z-]+)", told)
        known |= {f"PREAMAR_{flag.upper().replace('-', '_')}" for flag in flags}
    assert set(env_of(container)) <= known | {"POD_NAME", "POD_NAMESPACE"}
    assert container["command"] == ["preamar", part]


def test_the_operator_is_told_where_it_is_and_what_to_watch(render, monkeypatch):
    told = []

    async def run(options):
        told.append(options)
        return 0

    monkeypatch.setattr("preamar.shell.startup.run", run)
    pod = pod_of(render({"watchNamespace": "team"}), "operator")
    for name, value in env_of(pod["containers"][0]).items():
        monkeypatch.setenv(name, value or f"<{name}>")
    assert command(["operator"]) == 0
    (options,) = told
    assert options.namespaces == ("team",)
    assert options.lease_namespace == "preamar-system"  # the release's, as render has it
    assert options.identity == "<POD_NAME>"
    assert options.settings.images["triton"].startswith("localhost/preamar/triton:")


def test_workload_images_reach_the_operator(render):
    values = {"image": {"registry": "r.example/p", "tag": "7"}, "workloads": {"triton": "x/y:1"}}
    env = env_of(pod_of(render(values), "operator")["containers"][0])
    assert env["PREAMAR_TRITON_IMAGE"] == "x/y:1"
    assert env["PREAMAR_GPU_DEEPSPEED_IMAGE"] == "r.example/p/deepspeed-gpu:7"


@pytest.mark.parametrize("name", images())
def test_every_image_of_an_engine_or_a_trainer_has_a_value_that_reaches_the_operator(render, name):
    def told(values):
        return env_of(pod_of(render(values), "operator")["containers"][0])[variable_of(name)]

    assert told({"image": {"registry": "r.example/p", "tag": "7"}}) == f"r.example/p/{name}:7"
    assert told({"workloads": {value_of(name): "x/y:1"}}) == "x/y:1"


def test_the_chart_has_no_image_that_nothing_runs_in():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(values["workloads"]) == {value_of(name) for name in images()}


def rules(manifests):
    return [
        (m["metadata"]["name"], rule)
        for m in manifests
        if m["kind"] in {"Role", "ClusterRole"}
        for rule in m["rules"]
    ]


@pytest.mark.parametrize("values", [{}, {"watchNamespace": "team"}])
def test_nobody_is_granted_secrets_wildcards_or_a_way_into_pods(render, values):
    for name, rule in rules(render(values)):
        for word in (*rule["apiGroups"], *rule["resources"], *rule["verbs"]):
            assert "*" not in word, name
        assert not {r for r in rule["resources"] if r.startswith(("secrets", "nodes"))}, name
        assert not {"pods/exec", "pods/attach", "pods/portforward"} & set(rule["resources"])
        assert not {"impersonate", "escalate", "bind"} & set(rule["verbs"])


def test_the_gateway_can_change_nothing(render):
    for name, rule in rules(render()):
        if "gateway" in name:
            assert set(rule["verbs"]) <= {"get", "list", "watch"}


def test_one_namespace_can_be_served_with_rights_in_no_other(render):
    manifests = render({"watchNamespace": "team"})
    bound = [m["roleRef"]["name"] for m in manifests if m["kind"] == "ClusterRoleBinding"]
    assert bound == ["preamar-operator-tenants", "preamar-gateway-tenants"]
    for role, rights in (
        ("gateway", {"tenants": ["list", "watch"]}),
        ("operator", {"tenants": ["list", "watch"], "tenants/status": ["patch"]}),
    ):
        rules = named(manifests, "ClusterRole", f"preamar-{role}-tenants")["rules"]
        assert {tuple(rule["apiGroups"]) for rule in rules} == {("preamar.dev",)}
        assert {one: rule["verbs"] for rule in rules for one in rule["resources"]} == rights
    assert named(manifests, "Role", "preamar-operator")["metadata"]["namespace"] == "team"


@pytest.mark.parametrize(
    "values",
    [
        {"gatway": {}},
        {"gateway": {"replicas": 2}},
        {"gateway": {"service": {"type": "nodeport"}}},
        {"gateway": {"adminSecretName": ""}},
        {"gateway": {"terminationGracePeriodSeconds": 30}},
        {"operator": {"resource": {}}},
        {"image": {"pullPolicy": "Sometimes"}},
        {"crds": {"keep": "yes"}},
    ],
)
def test_mistakes_in_values_are_refused(render, values):
    with pytest.raises(HelmError):
        render(values)


def test_crds_come_and_stay_with_the_release_unless_told_otherwise(render):
    def crds(**told):
        manifests = render({"crds": told})
        return [m for m in manifests if m["kind"] == "CustomResourceDefinition"]

    committed = {
        (crd := yaml.safe_load(path.read_text()))["metadata"]["name"]: crd["spec"]
        for path in (CHART.parents[1] / "crds").glob("*.yaml")
    }
    assert {m["metadata"]["name"]: m["spec"] for m in crds()} == committed
    assert all(m["metadata"]["annotations"] for m in crds())
    assert not any(m["metadata"].get("annotations") for m in crds(keep=False))
    assert crds(enabled=False) == []


def test_a_load_balancer_does_not_show_the_admin_port(render):
    def ports(**service):
        manifests = render({"gateway": {"service": {"type": "LoadBalancer", **service}}})
        gateway = named(manifests, "Service", "preamar-gateway")["spec"]
        return {p["name"] for p in gateway["ports"]}

    assert ports() == {"data", "grpc"}
    assert ports(exposeAdmin=True) == {"data", "admin", "grpc"}
    admin = named(render(), "Service", "preamar-gateway-admin")["spec"]
    assert admin["type"] == "ClusterIP"


def test_the_ledger_is_kept_on_a_claim(render):
    manifests = render()
    claim = named(manifests, "PersistentVolumeClaim", "preamar-gateway")
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    state = next(v for v in pod_of(manifests, "gateway")["volumes"] if v["name"] == "state")
    assert state["persistentVolumeClaim"]["claimName"] == "preamar-gateway"
    assert named(manifests, "Deployment", "preamar-gateway")["spec"]["strategy"] == {
        "type": "Recreate"
    }


def test_gateways_that_share_a_database_are_many_and_replaced_one_by_one(render):
    values = {"ledger": {"postgresSecretName": "db"}, "gateway": {"replicas": 3}}
    manifests = render(values)
    spec = named(manifests, "Deployment", "preamar-gateway")["spec"]
    assert (spec["replicas"], spec["strategy"]["rollingUpdate"]["maxUnavailable"]) == (3, 0)
    assert not [m for m in manifests if m["kind"] == "PersistentVolumeClaim"]
    pod = pod_of(manifests, "gateway")
    (url,) = [v["secret"] for v in pod["volumes"] if v["name"] == "ledger"]
    assert (url["secretName"], url["items"]) == ("db", [{"key": "url", "path": "url"}])
    (container,) = pod["containers"]
    assert "/etc/preamar/ledger" in [m["mountPath"] for m in container["volumeMounts"]]
    told = {each["name"]: each.get("value") for each in container["env"]}
    assert told["PREAMAR_LEDGER_URL_FILE"] == "/etc/preamar/ledger/url"


def test_no_secret_is_ever_made(render):
    assert not [m for m in render() if m["kind"] == "Secret"]


def test_the_notes_make_a_key_and_send_a_request(render):
    notes = render(notes=True)
    for needed in ("create secret generic preamar-admin", "/tenants/demo/keys", "/v1/embeddings"):
        assert needed in notes
    manifest = notes.split("<<YAML\n")[1].split("YAML")[0]
    from preamar.api.inference import InferenceService

    InferenceService.model_validate(yaml.safe_load(manifest))


def test_monitors_are_made_only_where_the_cluster_knows_them(render):
    def monitors(enabled):
        told = {"prometheus": {"serviceMonitor": {"enabled": enabled}}}
        return [m for m in render(told) if m["kind"] == "ServiceMonitor"]

    assert monitors("auto") == []
    assert len(monitors(True)) == 2
    assert monitors(False) == []


@pytest.mark.parametrize("preset", PRESETS, ids=lambda p: p.stem)
def test_presets_are_valid_values(render, preset: Path):
    assert render(yaml.safe_load(preset.read_text()))
