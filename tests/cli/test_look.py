"""``preamar logs``, ``top``, ``status`` and ``plot`` against an API server that says what we like.

Holds: cli/look/common.py, cli/look/curve.py, cli/look/logs.py, cli/look/plot.py, cli/look/row.py,
cli/look/status.py, cli/look/top.py, cluster/connect.py, cluster/reading.py
"""

import asyncio
import json
import threading

import pytest
import yaml
from aiohttp import web

from preamar.cli.look.plot import parse
from preamar.main import main

CURVE = "step,loss,time,ranks,attempt\n" + "".join(f"{n},{9 / n},0,2,1\n" for n in range(1, 80))
SPEC = {
    "accelerator": {"type": "CPU"},
    "data": {"sources": [{"name": "books", "uri": "pvc://data/books"}]},
    "checkpoint": {"uri": "pvc://data/ckpt"},
    "workers": {"replicas": 2, "ranksPerWorker": 2},
    "steps": 100,
}


def condition(kind, status, reason, message):
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }


def a_job(name="gpt", **status):
    status = {
        "attempt": 2,
        "workers": 2,
        "progress": {"step": 40, "steps": 100, "loss": "2.31", "samplesPerSecond": "32", "etaSeconds": 7200},
        "quote": {"cost": "12.50", "currency": "USD"},
        "goodput": {"usefulSeconds": 90, "startupSeconds": 10},
        "conditions": [
            condition("Succeeded", "Unknown", "InProgress", "The job has not ended."),
            condition("Running", "True", "Training", "Attempt 2 trains."),
            condition("Stalled", "False", "Progressing", "Nothing stands in the way."),
        ],
    } | status  # fmt: skip
    metadata = {"name": name, "namespace": "demo", "uid": "u"}
    return {"metadata": metadata, "spec": SPEC, "status": status}


def a_service(name="chat"):
    ready = condition("Ready", "False", "ModelLoading", "Replica 1 loads its model.")
    spec = {"model": {"uri": "pvc://models/chat"}, "accelerator": {"type": "CPU"}}
    metadata = {"name": name, "namespace": "demo", "uid": "s"}
    return {"metadata": metadata, "spec": spec, "status": {"conditions": [ready]}}


def a_pod(name, phase="Running", **labels):
    return {"metadata": {"name": name, "uid": name, "labels": labels}, "status": {"phase": phase}}


def rank_pod(index, attempt=2):
    labels = {
        "preamar.dev/trainingjob": "gpt",
        "preamar.dev/attempt": str(attempt),
        "batch.kubernetes.io/job-completion-index": str(index),
    }
    return a_pod(f"gpt-{attempt}-{index}", **labels)


class Api:
    """As much of an API server as these commands ask for. It answers in a thread of its own."""

    def __init__(self):
        self.kinds = {
            "trainingjobs": [a_job()],
            "inferenceservices": [a_service()],
            "pods": [rank_pod(1), rank_pod(0), rank_pod(0, 1), a_pod("chat-1", **{"preamar.dev/inferenceservice": "chat"})],
        }  # fmt: skip
        self.logs = {
            "gpt-2-0": "agent\n[rank 0] one\n[rank 1] two\n",
            "gpt-2-1": "[rank 2] three\n[rank 3] four\n",
            "gpt-1-0": "[rank 0] before\n",
            "chat-1": "I0000 ready",
        }
        self.curve = CURVE
        self.asked = []

    async def list(self, request):
        found = self.kinds[request.match_info["plural"]]
        selector = dict(
            p.split("=") for p in request.query.get("labelSelector", "").split(",") if p
        )
        chosen = [
            b for b in found if selector.items() <= (b["metadata"].get("labels") or {}).items()
        ]
        return web.json_response({"items": chosen})

    async def get(self, request):
        plural, name = request.match_info["plural"], request.match_info["name"]
        for body in self.kinds[plural]:
            if body["metadata"]["name"] == name:
                return web.json_response(body)
        words = {"reason": "NotFound", "message": f"{name} not found", "details": {"name": name}}
        return web.json_response(words, status=404)

    async def log(self, request):
        self.asked.append(dict(request.query))
        text = self.logs.get(request.match_info["name"])
        if text is None:
            words = {"message": "container trainer is waiting to start", "reason": "BadRequest"}
            return web.json_response(words, status=400)
        return web.Response(text=text)

    async def losses(self, request):
        return web.Response(text=self.curve)

    def application(self):
        app = web.Application()
        for base in ("/apis/preamar.dev/v1alpha1", "/api/v1"):
            for space in ("", "/namespaces/demo", "/namespaces/other"):
                app.router.add_get(f"{base}{space}/{{plural}}", self.list)
        app.router.add_get(
            "/apis/preamar.dev/v1alpha1/namespaces/{space}/{plural}/{name}", self.get
        )
        app.router.add_get("/api/v1/namespaces/demo/pods/{name}/log", self.log)
        app.router.add_get("/api/v1/namespaces/demo/pods/{pod}/proxy/losses", self.losses)
        return app


@pytest.fixture
def api(tmp_path, monkeypatch):
    served, loop, ready = Api(), asyncio.new_event_loop(), threading.Event()
    port, runners = [], []

    async def serve():
        runner = web.AppRunner(served.application())
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port.append(site._server.sockets[0].getsockname()[1])
        runners.append(runner)
        ready.set()

    thread = threading.Thread(
        target=lambda: (loop.run_until_complete(serve()), loop.run_forever()), daemon=True
    )
    thread.start()
    assert ready.wait(10)
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [
            {"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "demo"}},
            {"name": "there", "context": {"cluster": "c", "user": "u", "namespace": "other"}},
        ],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port[0]}"}}],
        "users": [{"name": "u", "user": {}}],
    }
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    yield served
    asyncio.run_coroutine_threadsafe(runners[0].cleanup(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)


def lines(capsys, *arguments, code=0):
    assert main(arguments) == code
    return capsys.readouterr().out.splitlines()


def test_logs_are_those_of_the_latest_attempt_by_worker(api, capsys):
    assert lines(capsys, "logs", "gpt") == [
        "agent", "[rank 0] one", "[rank 1] two", "[rank 2] three", "[rank 3] four",
    ]  # fmt: skip


def test_a_rank_is_looked_for_in_its_workers_pod(api, capsys):
    assert lines(capsys, "logs", "gpt", "--rank", "3") == ["[rank 3] four"]
    assert lines(capsys, "logs", "gpt", "--rank", "1", "--tail", "9") == ["agent", "[rank 1] two"]
    assert api.asked[-1] == {"container": "trainer", "tailLines": "9"}


def test_logs_of_an_earlier_attempt_and_of_a_service(api, capsys):
    assert lines(capsys, "logs", "gpt", "--attempt", "1") == ["[rank 0] before"]
    assert lines(capsys, "logs", "chat") == ["I0000 ready"]
    assert api.asked[-1] == {"container": "triton"}


def test_following_asks_for_a_stream_and_ends_with_it(api, capsys):
    found = lines(capsys, "logs", "gpt", "-f")
    assert sorted(found) == sorted(lines(capsys, "logs", "gpt"))
    assert {"container": "trainer", "follow": "true"} in api.asked


def test_a_pod_without_a_log_hides_no_other(api, capsys):
    del api.logs["gpt-2-0"]
    assert main(["logs", "gpt"]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines() == ["[rank 2] three", "[rank 3] four"]
    assert "gpt-2-0: container trainer is waiting to start" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["logs", "no"], "no TrainingJob or InferenceService 'no' in namespace demo"),
        (["logs", "gpt", "--context", "there", "-n", "demo", "--rank", "9"], "no pod of rank 9 of attempt 2"),
        (["logs", "gpt", "--kubeconfig", "/no"], "no kubeconfig at /no"),
        (["status", "no"], "no TrainingJob or InferenceService 'no'"),
        (["plot", "no", "--out", "x.png"], "no TrainingJob 'no'"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_one_sentence_and_1(api, capsys, arguments, words):
    assert main(arguments) == 1
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [["logs"], ["logs", "x", "--rank", "-1"], ["plot", "--out", "x"], ["top", "-w", "0"]],
)
def test_bad_usage_is_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_top_shows_jobs_and_services_without_colour(api, capsys):
    jobs, row, _, services, replica = lines(capsys, "top")
    assert jobs.split() == [
        "TRAINING",
        "STATE",
        "WORKERS",
        "STEP",
        "LOSS",
        "SAMPLES/S",
        "LEFT",
        "COST",
    ]
    assert row.split() == [
        "demo/gpt",
        "Training",
        "2/2",
        "40/100",
        "2.31",
        "32",
        "2.0",
        "hours",
        "12.50",
        "USD",
    ]
    assert services.split() == ["SERVING", "STATE", "READY", "WANTED", "WHY", "SIGNAL"]
    assert replica.split()[:4] == ["demo/chat", "ModelLoading", "0", "1"]
    assert "\x1b" not in row
    assert "90%" in lines(capsys, "top", "-o", "wide")[1]
    assert (
        json.loads("\n".join(lines(capsys, "top", "-A", "-o", "json")))["training"][0]["name"]
        == "gpt"
    )


def test_top_of_nothing_says_so(api, capsys):
    api.kinds |= {"trainingjobs": [], "inferenceservices": []}
    assert lines(capsys, "top") == ["There is no TrainingJob and no InferenceService."]


STALLED = [condition("Stalled", "True", "VolumeMissing", "Create it.")]


@pytest.mark.parametrize(
    ("job", "code", "sentence"),
    [
        (a_job(), 0, "gpt: Training: Attempt 2 trains."),
        (a_job(conditions=STALLED), 1, "gpt: VolumeMissing: Create it."),
        (a_job(conditions=[condition("Running", "False", "Starting", "It starts.")]), 3, "gpt: Starting: It starts."),
        (a_job(conditions=[condition("Succeeded", "True", "Done", "All steps are trained.")]), 0, "gpt: Done: All steps are trained."),
        (a_job(conditions=[]), 3, "gpt: the operator has not looked at it yet; does it run?"),
    ],
)  # fmt: skip
def test_status_is_one_sentence_and_a_code(api, capsys, job, code, sentence):
    api.kinds["trainingjobs"] = [job]
    assert lines(capsys, "status", "gpt", code=code) == [sentence]


def test_a_service_that_is_not_ready_says_why(api, capsys):
    assert lines(capsys, "status", "chat", code=3) == [
        "chat: ModelLoading: Replica 1 loads its model."
    ]


def test_a_curve_is_drawn_of_a_running_job_and_of_files(api, capsys, tmp_path):
    (said,) = lines(capsys, "plot", "gpt", "--out", str(tmp_path / "a.png"))
    assert said.startswith("gpt: 79 steps, loss 0.1139")
    (tmp_path / "losses.csv").write_text(CURVE)
    file = str(tmp_path / "losses.csv")
    lines(capsys, "plot", "--file", file, "--file", file, "--out", str(tmp_path / "b.png"))
    for name in ("a.png", "b.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_a_job_that_ended_names_the_file_to_copy(api, capsys):
    api.kinds["pods"] = []
    assert main(["plot", "gpt", "--out", "x.png"]) == 1
    assert "copy losses.csv from pvc://data/ckpt" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "step,loss\n", "a,b\n1,2\n", CURVE + "80,x,0,2,1\n"])
def test_a_file_that_is_no_curve_is_told(capsys, tmp_path, text):
    (tmp_path / "losses.csv").write_text(text)
    assert main(["plot", "--file", str(tmp_path / "losses.csv"), "--out", "x.png"]) == 2
    assert "preamar plot: " in capsys.readouterr().err


def test_every_step_of_a_curve_is_read():
    assert [row.step for row in parse(CURVE, "x")] == list(range(1, 80))
