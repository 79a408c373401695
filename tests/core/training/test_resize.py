"""A size that is asked for is reached from exactly where the job was, or not at all.

Holds: core/training/leftovers.py, core/training/progress.py, core/training/resizes.py,
core/training/elastic/conversion.py, core/training/elastic/resize.py, core/training/pods/tokens.py,
core/training/rules/running.py
"""

from json import dumps, loads

import pytest

from preamar.core.plan import Mark, Ref, ref_of
from preamar.core.training.observe import JobView, StopAck
from preamar.core.training.pods.desired import order_digest
from preamar.core.training.pods.tokens import stop_digest, stop_token
from preamar.core.training.progress import ProgressReport
from preamar.core.training.reconcile import reconcile
from preamar.protocol.labels import ORDER, REFUSED, RESIZE, RESIZED, RESTARTS, STOP
from tests.core.builders import a_job, a_rank, an_attempt, condition, later, sentence, watched

SAVED = {"step": 50, "uri": "pvc://data/ckpt/step-00000050", "worldSize": 2, "verified": True}
STOPPED = {
    "outcome": "Stopped",
    "step": 57,
    "consumed": 3648,
    "checkpoint": {"step": 57, "uri": "pvc://data/ckpt/step-00000057", "worldSize": 2},
}
GENERATION = 3  # of the builders' resources
EXPERTS = {"parallelism": {"expert": 2}, "image": "x:1", "command": ["train"]}


def scaled(to=1, status=None, **spec):
    told = {"attempt": 1, "checkpoint": SAVED, **(status or {})}
    return a_job(status=told, **{"workers": {"replicas": to}, **spec})


def order(to=1, at=-20, before=2, generation=GENERATION, **more):
    words = {"from": before, "to": to, "reason": "UserAsked", "generation": generation, **more}
    return dumps(words | {"at": later(at).isoformat()})


def attempt(job, number=1, notes=None, **more):
    own = {ORDER: order_digest(job), RESTARTS: "0", **(notes or {})}
    return an_attempt(number, annotations=own, **{"active": 2, **more})


def running(job, **more):
    return {"jobs": (attempt(job, **more),), "pods": (a_rank(0), a_rank(1))}


def stopped(job, notes=None, **more):
    """A job whose attempt 1 of two workers was told to stop, and did."""
    over = attempt(job, notes={STOP: order(), **(notes or {})}, failed=True, ended_at=later(-1))
    ranks = tuple(a_rank(n, code=75, words=STOPPED, finished=-2) for n in range(2))
    return {"jobs": (over,), "pods": ranks, **more}


def a_conversion(number=2, notes=None, **more):
    notes = notes or {RESIZE: order()}
    return JobView(
        f"t-{number}-convert", "uid-c", "9", 0, annotations=notes, conversion=number, **more
    )


def a_converter(code=None, number=2, words=None):
    pod = a_rank(0, code=code, words=words)
    (container,) = pod.containers
    from dataclasses import replace

    labels = {"preamar.dev/conversion": str(number)}
    return replace(
        pod, name="c", uid="c", labels=labels, containers=(replace(container, name="converter"),)
    )


def made(plan):
    return [ref_of(m).name for m in plan.apply if m["kind"] == "Job"]


def notes_of(plan):
    return plan.apply[-1]["metadata"]["annotations"]


def test_a_running_attempt_is_told_to_stop_on_its_job_and_nothing_else_is_done():
    job = scaled(1)
    plan = reconcile(watched(job, **running(job)))
    (mark,) = plan.marks
    assert mark == Mark(
        Ref("batch/v1", "Job", "demo", "t-1"), "uid-t-1", STOP, mark.value, "preamar/orders"
    )
    words = loads(mark.value)
    assert (words["from"], words["to"], words["generation"]) == (2, 1, GENERATION)
    assert (plan.delete, made(plan)) == ((), [])
    assert condition(plan, "Running") == ("True", "Resizing")
    assert condition(plan, "ContinuityVerified") == ("Unknown", "Resizing")


def test_an_order_is_given_once_and_stands_whatever_is_wished_next():
    for wish in (1, 2, 4):
        job = scaled(wish)
        plan = reconcile(watched(job, **running(job, notes={STOP: order()})))
        assert (plan.marks, plan.delete, made(plan)) == ((), (), [])
        assert condition(plan, "Running") == ("True", "Resizing")


KEPT = [
    pytest.param({}, {"to": 3}, "Set workers.replicas to 2 or 4.", id="a size that cannot be"),
    pytest.param({}, {"to": 4, **EXPERTS}, "expert parallelism cannot", id="a kind that cannot"),
    pytest.param({"claims": {}}, {"to": 4}, "does not exist", id="a volume that is gone"),
]


@pytest.mark.parametrize(("facts", "spec", "words"), KEPT)
def test_what_could_not_start_stops_nothing_and_is_told(facts, spec, words):
    job = scaled(**spec)
    plan = reconcile(watched(job, **running(job), **facts))
    assert (plan.marks, plan.delete, made(plan)) == ((), (), [])
    assert condition(plan, "Running") == ("True", "KeepsItsSize")
    assert words in sentence(plan, "Running")


HEARD = [
    (None, -400, False),
    (StopAck(accepted=False, seconds=29), -40, False),
    (StopAck(accepted=False, seconds=31), -40, True),
    (StopAck(accepted=True, seconds=500), -500, False),
    (StopAck(accepted=True, seconds=901), -901, True),
]


@pytest.mark.parametrize(("heard", "at", "cut"), HEARD)
def test_an_agent_that_cannot_be_reached_is_stopped_as_a_suspend_would(heard, at, cut):
    job = scaled(1)
    plan = reconcile(watched(job, stop=heard, **running(job, notes={STOP: order(at=at)})))
    assert [d.ref.name for d in plan.delete] == (["t-1"] if cut else [])


def test_the_shards_are_converted_before_the_next_attempt_and_without_accelerators():
    gpu = {"accelerator": {"type": "GPU", "count": 1}}
    plan = reconcile(watched(scaled(1, **gpu), **stopped(scaled(1, **gpu))))
    assert made(plan) == ["t-2-convert"]
    body = plan.apply[-1]
    pod = body["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["preamar-train", "convert"]
    assert "limits" not in container["resources"]
    assert "nvidia.com/gpu" not in dumps(pod)
    assert body["spec"]["backoffLimit"] == 2
    assert (
        loads(next(v["value"] for v in container["env"] if v["name"] == "PREAMAR_TRAIN"))["attempt"]
        == 2
    )
    assert condition(plan, "Running") == ("False", "ConvertingCheckpoint")
    assert plan.status["status"]["attempt"] == 1
    assert plan.status["status"]["restarts"] == 0


def test_a_conversion_that_runs_is_waited_for_and_one_that_is_done_lets_the_attempt_start():
    job = scaled(1)
    waiting = watched(
        job, conversions=(a_conversion(),), **stopped(job) | {
            "pods": (*stopped(job)["pods"], a_converter())}
    )  # fmt: skip
    plan = reconcile(waiting)
    assert (made(plan), plan.delete) == ([], ())
    for done in (
        {"conversions": (a_conversion(complete=True),)},
        {
            "conversions": (a_conversion(),),
            "pods": (*stopped(job)["pods"], a_converter(0, words={"outcome": "Converted"})),
        },
    ):
        plan = reconcile(watched(job, **stopped(job) | done))
        assert (made(plan), plan.delete) == (["t-2"], ())
        assert plan.apply[-1]["spec"]["completions"] == 1
        notes = notes_of(plan)
        words = loads(notes[RESIZE])
        assert (words["from"], words["to"], words["consumed"]) == (2, 1, 3648)
        assert (notes[RESIZED], notes[RESTARTS]) == ("1", "0")


def test_ranks_that_hold_everything_need_no_conversion():
    job = scaled(1, parallelism={"zeroStage": 0}, precision="FP32")
    assert made(reconcile(watched(job, **stopped(job)))) == ["t-2"]
    half = scaled(1, parallelism={"zeroStage": 0}, precision="BF16")
    assert made(reconcile(watched(half, **stopped(half)))) == ["t-2-convert"]


def test_a_wish_taken_back_starts_at_the_old_size_once_the_conversion_is_gone():
    job = scaled(2)
    facts = stopped(job, conversions=(a_conversion(),))
    busy = facts | {"pods": (*facts["pods"], a_converter())}
    plan = reconcile(watched(job, **busy))
    assert ([d.ref.name for d in plan.delete], made(plan)) == (["t-2-convert"], [])
    plan = reconcile(watched(job, **stopped(job)))
    assert (made(plan), plan.apply[-1]["spec"]["completions"]) == (["t-2"], 2)
    assert RESIZE not in notes_of(plan)
    assert notes_of(plan)[RESIZED] == "0"


def test_another_wish_during_the_conversion_uses_it():
    job = scaled(4)
    plan = reconcile(watched(job, conversions=(a_conversion(complete=True),), **stopped(job)))
    assert (made(plan), plan.apply[-1]["spec"]["completions"]) == (["t-2"], 4)


def test_suspending_ends_a_conversion():
    job = scaled(1, suspend=True)
    plan = reconcile(watched(job, conversions=(a_conversion(),), **stopped(job)))
    assert ([d.ref.name for d in plan.delete], made(plan)) == (["t-2-convert"], [])
    assert condition(plan, "Suspended")[0] == "True"


def test_a_restart_after_a_failure_takes_the_wanted_size_the_same_way():
    job = scaled(1)
    killed = {"outcome": "Failed", "class": "Killed", "explanation": "gone"}
    dead = attempt(job, failed=True, ended_at=later(-600))
    pods = (a_rank(0, code=1, words=killed), a_rank(1, code=1))
    plan = reconcile(watched(job, jobs=(dead,), pods=pods))
    assert made(plan) == ["t-2-convert"]
    assert plan.status["status"]["restarts"] == 1


def test_a_conversion_that_failed_for_good_is_rolled_back_once_and_told():
    job = scaled(1)
    words = {"outcome": "Failed", "class": "NotConverted", "explanation": "A shard is short."}
    broken = a_conversion(failed=True)
    pods = (*stopped(job)["pods"], a_converter(64, words=words))
    plan = reconcile(watched(job, conversions=(broken,), **stopped(job) | {"pods": pods}))
    assert (made(plan), plan.apply[-1]["spec"]["completions"]) == (["t-2"], 2)
    assert loads(notes_of(plan)[REFUSED])["to"] == 1
    assert condition(plan, "ContinuityVerified") == ("False", "NotConverted")
    assert "A shard is short." in sentence(plan, "ContinuityVerified")
    (told,) = plan.status["status"]["resizes"]
    assert (told["from"], told["to"], told["outcome"]) == (2, 1, "RolledBack")
    assert (told["reason"], told["attempt"]) == ("NotConverted", 2)


def test_a_gate_that_did_not_open_is_rolled_back_and_counts_no_failure():
    job = scaled(1, status={"attempt": 2})
    words = {
        "outcome": "Failed",
        "class": "ContinuityBroken",
        "explanation": "The state of step 57 did not come through.",
        "checkpoint": STOPPED["checkpoint"],
    }
    tried = attempt(job, 2, notes={RESIZE: order()}, workers=1, failed=True, ended_at=later(-60))
    pods = (a_rank(0, attempt=2, code=1, words=words),)
    plan = reconcile(watched(job, jobs=(tried,), pods=pods))
    assert (made(plan), plan.apply[-1]["spec"]["completions"]) == (["t-3"], 2)
    assert (plan.status["status"]["restarts"], notes_of(plan)[RESTARTS]) == (0, "0")
    assert condition(plan, "ContinuityVerified") == ("False", "ContinuityBroken")
    (told,) = plan.status["status"]["resizes"]
    assert (told["attempt"], told["outcome"]) == (2, "RolledBack")


def gone_back(job, generation=GENERATION):
    refused = {"to": 1, "generation": generation, "reason": "NotConverted", "message": "Short."}
    return running(job, number=3, notes={REFUSED: dumps(refused)}) | {
        "pods": (a_rank(0, 3), a_rank(1, 3))
    }


def test_a_wish_that_failed_is_not_tried_again_until_the_spec_is_edited():
    job = scaled(1, status={"attempt": 3})
    plan = reconcile(watched(job, **gone_back(job)))
    assert (plan.marks, plan.delete) == ((), ())
    assert condition(plan, "Running") == ("True", "KeepsItsSize")
    assert "Edit the spec to try it again" in sentence(plan, "Running")
    assert condition(plan, "ContinuityVerified") == ("False", "NotConverted")
    edited = reconcile(watched(job, **gone_back(job, GENERATION - 1)))
    assert len(edited.marks) == 1


def test_a_failed_conversion_is_made_anew_after_an_edit():
    job = scaled(1)
    old = a_conversion(notes={RESIZE: order(generation=GENERATION - 1)}, failed=True)
    plan = reconcile(watched(job, conversions=(old,), **stopped(job)))
    assert ([d.ref.name for d in plan.delete], made(plan)) == (["t-2-convert"], [])
    assert made(reconcile(watched(job, **stopped(job)))) == ["t-2-convert"]


def resumed(pause="14.2", **more):
    return ProgressReport.of(
        {"attempt": 2, "state": "Training", "step": 60, "consumed": 3840, "resumedFrom": 57,
         "resumed": {"step": 57, "from": 2, "tensors": 120, "lossDelta": "0.00000001",
                     "pauseSeconds": pause}, **more}
    )  # fmt: skip


def at_the_new_size(job, progress, **notes):
    own = {RESIZE: order(consumed=3648), RESIZED: "1", **notes}
    return {
        "jobs": (attempt(job, 2, notes=own, workers=1),),
        "pods": (a_rank(0, attempt=2),),
        "progress": progress,
    }


def test_a_verified_resize_is_told_with_its_figures_once():
    job = scaled(1, status={"attempt": 2})
    before = reconcile(watched(job, **at_the_new_size(job, resumed(pause=None))))
    assert "resizes" not in before.status["status"]
    assert condition(before, "ContinuityVerified") == ("Unknown", "Resizing")
    plan = reconcile(watched(job, **at_the_new_size(job, resumed())))
    status = plan.status["status"]
    (told,) = status["resizes"]
    assert told == {
        "from": 2,
        "to": 1,
        "reason": "UserAsked",
        "pauseSeconds": "14.200",
        "lossDelta": "0.000000010",
        "at": "2026-01-01T11:59:40Z",
        "attempt": 2,
        "outcome": "Verified",
    }
    assert condition(plan, "ContinuityVerified") == ("True", "Verified")
    assert "120 tensors" in sentence(plan, "ContinuityVerified")
    assert status["samples"] == {"consumed": 3840, "skipped": 0, "duplicated": 0}
    kept = {"attempt": 2, "resizes": status["resizes"], "conditions": status["conditions"]}
    again = reconcile(watched(scaled(1, status=kept), **at_the_new_size(job, resumed())))
    assert len(again.status["status"]["resizes"]) == 1


def test_twenty_resizes_are_kept_newest_first():
    old = [{"from": 1, "to": 2, "attempt": n, "reason": "UserAsked"} for n in range(119, 99, -1)]
    job = scaled(1, status={"attempt": 2, "resizes": old})
    told = reconcile(watched(job, **at_the_new_size(job, resumed()))).status["status"]["resizes"]
    assert [each["attempt"] for each in told] == [2, *range(119, 100, -1)]


def test_samples_between_a_stop_and_its_successors_first_step_are_told_as_skipped():
    job = scaled(1, status={"attempt": 2})
    ahead = resumed(resumedFrom=58, step=60, consumed=3840)
    told = reconcile(watched(job, **at_the_new_size(job, ahead))).status["status"]["samples"]
    assert told["skipped"] == 64
    own = resumed(skipped=2, duplicated=1)
    told = reconcile(watched(job, **at_the_new_size(job, own))).status["status"]["samples"]
    assert (told["skipped"], told["duplicated"]) == (2, 1)


def test_an_attempt_that_met_a_checkpoint_of_another_size_has_it_converted():
    job = scaled(2, status={"attempt": 1})
    words = {
        "outcome": "Failed",
        "class": "NotConverted",
        "explanation": "It was written by 1 ranks.",
        "checkpoint": {"step": 80, "worldSize": 1},
    }
    dead = attempt(job, failed=True, ended_at=later(-60))
    pods = (a_rank(0, code=1, words=words), a_rank(1, code=1, words=words))
    plan = reconcile(watched(job, jobs=(dead,), pods=pods))
    assert made(plan) == ["t-2-convert"]
    assert plan.status["status"]["restarts"] == 0


def test_resizes_count_against_no_limit():
    job = scaled(2, status={"attempt": 500, "checkpoint": SAVED})
    lost = attempt(job, 500, notes={RESIZED: "499"}, failed=True, ended_at=later(-100))
    pods = (a_rank(0, attempt=500, code=75, words=STOPPED),)
    plan = reconcile(watched(job, jobs=(lost,), pods=pods))
    assert made(plan) == ["t-501"]


def test_ranks_are_over_before_their_job_says_so():
    job = scaled(1)
    over = attempt(job, notes={STOP: order()}, failing=True)
    pods = stopped(job)["pods"]
    assert made(reconcile(watched(job, jobs=(over,), pods=pods))) == ["t-2-convert"]
    one = reconcile(watched(job, jobs=(over,), pods=(pods[0], a_rank(1))))
    assert made(one) == []


def test_the_conversion_begins_once_rank_0_says_that_the_ranks_have_left():
    job = scaled(1)
    told = running(job, notes={STOP: order()})
    assert made(reconcile(watched(job, **told))) == []
    early = reconcile(watched(job, ended=frozenset({"t-1-0"}), **told))
    assert (made(early), early.delete) == (["t-2-convert"], ())
    # An attempt that was told nothing, a job that is to rest, shards that fit any size.
    for facts, spec in (
        (running(job), {}),
        (told, {"suspend": True}),
        (told, {"parallelism": {"zeroStage": 0}, "precision": "FP32"}),
    ):
        other = watched(scaled(1, **spec), ended=frozenset({"t-1-0"}), **facts)
        assert made(reconcile(other)) == []


def test_a_conversion_that_began_early_stays_while_the_pods_of_the_attempt_go():
    job = scaled(1)
    over = attempt(job, notes={STOP: order()}, failing=True)
    going = (a_rank(0, code=75, words=STOPPED), a_rank(1), a_converter())
    facts = {"jobs": (over,), "pods": going, "conversions": (a_conversion(),)}
    for ended in ({"t-1-0"}, set()):  # heard, and forgotten by a start of ours
        assert reconcile(watched(job, ended=frozenset(ended), **facts)).delete == ()


def test_a_converter_that_says_it_is_done_is_believed_before_its_status():
    job = scaled(1)
    facts = stopped(job, conversions=(a_conversion(),))
    facts["pods"] = (*facts["pods"], a_converter())
    assert made(reconcile(watched(job, **facts))) == []
    plan = reconcile(watched(job, ended=frozenset({"c"}), **facts))
    assert (made(plan), plan.delete) == (["t-2"], ())


def test_a_stop_that_one_rank_only_heard_as_a_lost_peer_is_a_stop():
    job = scaled(1)
    lost = {"outcome": "Failed", "class": "PeerLost", "explanation": "Rank 0 is gone."}
    facts = stopped(job)
    pods = (facts["pods"][0], a_rank(1, code=1, words=lost))
    plan = reconcile(watched(job, **facts | {"pods": pods}))
    assert made(plan) == ["t-2-convert"]
    assert plan.status["status"]["restarts"] == 0


def test_the_pod_is_told_only_what_stops_nobody():
    from preamar.core.settings import Settings

    key = b"internal"
    plan = reconcile(watched(a_job(), settings=Settings(internal_key=key)))
    token = stop_token(key, "uid-t", 1)
    text = dumps(plan.apply[-1])
    assert stop_digest(key, "uid-t", 1) in text
    assert token not in text
    assert "internal" not in text.replace("preamar-internal", "")
    assert token != stop_token(key, "uid-t", 2)
    assert stop_digest(b"", "uid-t", 1) == ""
