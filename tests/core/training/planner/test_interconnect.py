"""What ranks are told about their way to each other, and what their users are told of it.

Holds: core/training/planner/interconnect.py
"""

import pytest

from preamar.core.training.backends.speeds import Way
from preamar.core.training.planner.interconnect import slower, variables, way
from preamar.core.training.progress import ProgressReport
from preamar.core.training.reconcile import reconcile
from tests.core.builders import a_job, a_rank, condition, sentence, watched
from tests.core.training.test_reconcile import running

GPU = {"type": "GPU", "count": 8}
RDMA = {"limits": {"rdma/hca_shared_devices_a": "1"}}


def spec(workers=None, products=(), **more):
    accelerator = {**GPU, "products": list(products)}
    return a_job(
        accelerator=accelerator, workers={"ranksPerWorker": 8} | (workers or {}), **more
    ).spec


WAYS = [
    pytest.param(spec(), 2, Way.TCP, id="nothing but a network"),
    pytest.param(spec({"resources": RDMA}), 2, Way.RDMA, id="a shared RDMA device"),
    pytest.param(spec({"resources": {"requests": {"openshift.io/mlnxnics": "8"}}}), 2, Way.RDMA, id="virtual functions"),
    pytest.param(spec({"resources": {"limits": {"vpc.amazonaws.com/efa": "4"}}}), 2, Way.RDMA, id="EFA"),
    pytest.param(spec({"resources": RDMA}), 1, Way.LOCAL, id="one machine of an unknown kind"),
    pytest.param(spec(products=["NVIDIA-H100-80GB-HBM3"]), 1, Way.NVLINK, id="one machine with NVLink"),
    pytest.param(spec(products=["NVIDIA-L4"]), 1, Way.LOCAL, id="one machine without NVLink"),
    pytest.param(spec(products=["NVIDIA-H100-80GB-HBM3", "NVIDIA-L4"]), 1, Way.LOCAL, id="one of two kinds"),
    pytest.param(spec({"ranksPerWorker": 1}, products=["H100"]), 1, Way.LOCAL, id="a single rank"),
    pytest.param(spec(interconnect={"path": "RDMA"}), 2, Way.RDMA, id="as the user says"),
    pytest.param(a_job().spec, 2, Way.TCP, id="CPUs"),
    pytest.param(a_job().spec, 1, Way.LOCAL, id="one CPU rank"),
]  # fmt: skip


@pytest.mark.parametrize(("job", "workers", "expected"), WAYS)
def test_the_way_follows_from_what_the_pods_ask_for(job, workers, expected):
    assert way(job, workers) == expected


LOGS = {
    "NCCL_DEBUG": "INFO",
    "NCCL_DEBUG_SUBSYS": "INIT,NET,GRAPH,P2P,SHM",
    "NCCL_DEBUG_FILE": "/tmp/preamar-nccl-%p.log",
}
ETH0 = {"GLOO_SOCKET_IFNAME": "eth0", "NCCL_SOCKET_IFNAME": "=eth0"}
WARN, FAIL = ({"PREAMAR_INTERCONNECT_MISMATCH": each} for each in ("Warn", "Fail"))
VARIABLES = [
    pytest.param(spec(), 2, LOGS | ETH0 | WARN | {"NCCL_IB_DISABLE": "1"}, id="TCP"),
    pytest.param(spec({"resources": RDMA}), 2, LOGS | ETH0 | WARN, id="RDMA"),
    pytest.param(
        spec({"resources": RDMA}, interconnect={"onMismatch": "Fail"}), 2,
        LOGS | ETH0 | FAIL | {"NCCL_NET": "IB"}, id="RDMA or nothing",
    ),
    pytest.param(
        spec({"resources": {"limits": {"vpc.amazonaws.com/efa": "4"}}}, interconnect={"onMismatch": "Fail"}), 2,
        LOGS | ETH0 | FAIL, id="EFA or nothing: its plugin has a name of its own",
    ),
    pytest.param(spec(products=["H100"]), 1, LOGS | ETH0 | WARN, id="NVLink"),
    pytest.param(spec(), 1, {}, id="one machine"),
    pytest.param(a_job().spec, 2, WARN | {"GLOO_SOCKET_IFNAME": "eth0"}, id="gloo"),
]  # fmt: skip


@pytest.mark.parametrize(("job", "workers", "expected"), VARIABLES)
def test_libraries_are_told_no_more_than_the_way_needs(job, workers, expected):
    told = dict(variables(job, workers))
    assert told.pop("PREAMAR_INTERCONNECT") == way(job, workers)
    assert told == expected


def environment(job):
    pod = reconcile(watched(job)).apply[1]["spec"]["template"]["spec"]
    return {v["name"]: v["value"] for v in pod["containers"][0]["env"]}


def test_a_variable_of_the_users_wins():
    job = a_job(env=[{"name": "GLOO_SOCKET_IFNAME", "value": "net1"}])
    assert environment(job)["GLOO_SOCKET_IFNAME"] == "net1"


def test_memory_is_locked_as_root_and_only_where_that_was_asked_for():
    def context(**more):
        pod = reconcile(watched(a_job(**more))).apply[1]["spec"]["template"]["spec"]
        return pod["containers"][0]["securityContext"]

    locks = context(interconnect={"lockMemory": True})
    assert locks["capabilities"] == {"drop": ["ALL"], "add": ["IPC_LOCK"]}
    assert (locks["runAsUser"], locks["allowPrivilegeEscalation"]) == (0, False)
    assert context()["capabilities"] == {"drop": ["ALL"]}
    assert context()["runAsNonRoot"] is True


def told(expected, used, status=None):
    job = a_job(status=status)
    body = {"expected": expected, "used": used, "detail": "NCCL: network Socket"}
    said = ProgressReport.of({"attempt": 1, "state": "Training", "interconnect": body})
    pods = (a_rank(0), a_rank(1))
    return watched(job, jobs=(running(job),), pods=pods, progress=None if status else said)


def test_a_fall_back_is_a_condition_and_a_warning():
    plan = reconcile(told("RDMA", "TCP"))
    assert condition(plan, "Running") == ("True", "InterconnectFellBack")
    assert "over TCP and not over RDMA (NCCL: network Socket)" in sentence(plan, "Running")
    warned = next(event for event in plan.events if event.reason == "InterconnectFellBack")
    assert warned.type == "Warning"
    assert plan.status["status"]["interconnect"]["used"] == "TCP"


def test_silence_of_rank_0_takes_no_warning_back():
    before = {"expected": "RDMA", "used": "TCP", "detail": ""}
    plan = reconcile(told("", "", status={"attempt": 1, "interconnect": before}))
    assert condition(plan, "Running") == ("True", "InterconnectFellBack")


def test_what_is_as_expected_is_not_warned_of():
    assert condition(reconcile(told("RDMA", "RDMA")), "Running") == ("True", "Training")


@pytest.mark.parametrize(
    ("expected", "used", "worse"),
    [
        ("TCP", "RDMA", False),
        ("RDMA", "NVLink", False),
        ("NVLink", "Local", True),
        ("RDMA", "Unknown", True),
        ("TCP", "Unknown", False),
        ("TCP", "TCP on lo", True),
        ("Local", "TCP", False),
    ],
)
def test_only_a_slower_way_is_a_fall_back(expected, used, worse):
    assert slower(expected, used) is worse
