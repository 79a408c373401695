"""Whatever the cluster shows, a pass ends with a plan, and writes a status that can be read back.

Holds: core/serving/observe.py, core/serving/reconcile.py, core/training/observe.py,
core/training/reconcile.py
"""

from hypothesis import given
from hypothesis import strategies as st

from preamar.api.inference_status import InferenceServiceStatus
from preamar.api.training_status import TrainingJobStatus
from preamar.core.objects import ClaimView
from preamar.core.plan import digest_of
from preamar.core.pods import PodView
from preamar.core.serving.observe import DeploymentView
from preamar.core.serving.pods.desired import identity_of, revision_of
from preamar.core.serving.reconcile import reconcile as serve
from preamar.core.training.observe import JobView
from preamar.core.training.progress import ProgressReport, TerminationMessage
from preamar.core.training.reconcile import reconcile as train
from preamar.protocol.demand import Demand
from tests.core.builders import a_job, a_service, later, seen, watched
from tests.hunting import examples

words = st.text(max_size=30) | st.sampled_from(
    ['{"outcome": "Failed", "class": "ConfigError"}', '{"outcome": "Done", "step": 3}', "[1]", "{"]
)
times = st.none() | st.integers(-100_000, 1000).map(lambda s: later(s).isoformat())
ended = st.fixed_dictionaries(
    {"exitCode": st.sampled_from([0, 1, 64, 75, 137])},
    optional={"reason": words, "message": words, "finishedAt": times},
)
states = st.fixed_dictionaries(
    {},
    optional={
        "waiting": st.fixed_dictionaries({}, optional={"reason": words, "message": words}),
        "running": st.fixed_dictionaries({}, optional={"startedAt": times}),
        "terminated": ended,
    },
)
containers = st.fixed_dictionaries(
    {"name": st.sampled_from(["model", "triton", "trainer"])},
    optional={"state": states, "lastState": states, "restartCount": st.integers(0, 9)},
)
conditions = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["Ready", "PodScheduled", "DisruptionTarget"]),
            "status": st.sampled_from(["True", "False", "Unknown"]),
        },
        optional={"reason": words, "message": words, "lastTransitionTime": times},
    ),
    max_size=3,
)
labels = st.dictionaries(
    st.sampled_from(
        ["preamar.dev/attempt", "batch.kubernetes.io/job-completion-index", "preamar.dev/batch"]
    ),
    st.sampled_from(["0", "1", "x", "", "9" * 63, "²"]),
).map(lambda found: found | {"preamar.dev/revision": revision_of(a_service())})
fits = st.none() | st.fixed_dictionaries(
    {"revision": st.sampled_from([revision_of(a_service()), "other"])},
    optional={
        "edition": st.sampled_from([identity_of(a_service()).edition, "other"]),
        "maxBatchSize": st.integers(-1, 99),
        "asked": st.integers(-1, 99),
        "givenUp": st.booleans(),
        "reason": words,
        "message": words,
        "at": words,
    },
)
pods = st.builds(
    lambda name, found, more: PodView.of(
        {"metadata": {"name": name, "uid": name, "labels": found, **more[0]}, "status": more[1]}
    ),
    st.sampled_from("abc"),
    labels,
    st.tuples(
        st.fixed_dictionaries(
            {}, optional={"creationTimestamp": times, "deletionTimestamp": times}
        ),
        st.fixed_dictionaries(
            {},
            optional={
                "phase": st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "Unknown"]),
                "conditions": conditions,
                "containerStatuses": st.lists(containers, max_size=2),
                "initContainerStatuses": st.lists(containers, max_size=1),
            },
        ),
    ),
)
some_pods = st.lists(pods, max_size=3).map(tuple)
claims = st.sampled_from([("ReadWriteMany",), ("ReadWriteOnce",), ()]).map(
    lambda modes: {n: ClaimView(n, "Bound", modes) for n in ("models", "data")}
)
jobs = st.lists(
    st.builds(
        JobView,
        name=st.just("t-1"),
        uid=st.just("j"),
        version=st.just("1"),
        attempt=st.integers(0, 3),
        workers=st.integers(0, 4),
        complete=st.booleans(),
        failed=st.booleans(),
        deleting=st.booleans(),
        suspended=st.booleans(),
        ended_at=st.none() | st.integers(-1000, 10).map(later),
    ),
    max_size=3,
).map(tuple)
junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words | st.just(10**400),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)
keys = st.sampled_from(
    ["attempt", "step", "loss", "samplesPerSecond", "consumed", "checkpoint", "steps"]
)


@examples(40, 20_000)
@given(some_pods, claims, st.none() | st.integers(0, 10**6), st.integers(0, 5), fits)
def test_a_service(found, volumes, in_flight, replicas, fit):
    deployment = DeploymentView("d", "1", wanted=replicas, replicas=replicas, ready=replicas)
    service = a_service(replicas=replicas, status={"fit": fit})
    plan = serve(
        seen(service, pods=found, claims=volumes, demand=Demand(in_flight), deployment=deployment)
    )
    InferenceServiceStatus.model_validate(plan.status["status"])
    assert plan.recheck_in >= 0.1
    digest_of(plan.status)


@examples(60, 20_000)
@given(some_pods, claims, jobs, st.dictionaries(keys, junk), st.booleans())
def test_a_job(found, volumes, attempts, said, suspend):
    job = a_job(suspend=suspend, ttlSecondsAfterFinished=5, activeDeadlineSeconds=50)
    progress = ProgressReport.of({"attempt": 1} | said)
    plan = train(watched(job, pods=found, claims=volumes, jobs=attempts, progress=progress))
    if plan.status is not None:
        TrainingJobStatus.model_validate(plan.status["status"])
    assert plan.recheck_in >= 0.1


@examples(60, 20_000)
@given(junk)
def test_words_of_a_rank(said):
    ProgressReport.of(said)
    TerminationMessage.of(str(said))


def test_an_integer_beyond_any_float_is_no_number():
    assert ProgressReport.of({"attempt": 1, "loss": 10**400}).loss is None
