"""What a resource reads as, and what is said when it is wrong.

Holds: api/inference.py, api/meta.py, api/tenant.py, api/training.py, api/fields/collections.py,
api/fields/uri.py
"""

import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from preamar.api.fields.collections import FrozenMap
from preamar.api.fields.uri import ModelUri
from preamar.api.inference import InferenceService
from preamar.api.meta import problems
from preamar.api.tenant import Tenant
from preamar.api.training import TrainingJob

SERVICE = {
    "apiVersion": "preamar.dev/v1alpha1",
    "kind": "InferenceService",
    "metadata": {"name": "minilm", "namespace": "demo", "uid": "1", "generation": 2},
    "spec": {"model": {"uri": "pvc://models/minilm"}},
}


def service(**spec):
    return {**SERVICE, "spec": {**SERVICE["spec"], **spec}}


def refused(document, model=InferenceService):
    with pytest.raises(ValidationError) as raised:
        model.model_validate(document)
    return problems(raised.value)


def test_a_service_needs_a_model_and_nothing_else():
    read = InferenceService.model_validate(SERVICE)
    assert read.spec.scaling.max == 4
    assert read.spec.replicas == 1
    assert read.model_name == "minilm"


def test_unknown_fields_of_the_spec_are_refused_by_their_path():
    assert refused(service(scaling={"mn": 1})) == (
        "spec.scaling.mn: Extra inputs are not permitted",
    )


def test_unknown_metadata_is_ignored():
    document = {**SERVICE, "metadata": {"name": "a", "managedFields": [{}], "selfLink": None}}
    assert InferenceService.model_validate(document).metadata.name == "a"


def test_a_rule_between_fields_is_a_sentence():
    assert refused(service(scaling={"min": 5, "max": 2})) == (
        "spec.scaling: must not be greater than scaling.max",
    )


def test_null_is_the_same_as_left_out():
    document = service(scaling=None, runtime={"resources": {"requests": {"cpu": None}}})
    read = InferenceService.model_validate(document)
    assert read.spec == InferenceService.model_validate(SERVICE).spec


def test_a_bare_quantity_reads_as_text():
    read = InferenceService.model_validate(
        service(runtime={"resources": {"requests": {"cpu": 2, "memory": "1Gi"}}})
    )
    assert read.spec.runtime.resources.requests == {"cpu": "2", "memory": "1Gi"}


def test_a_status_of_another_version_never_hides_the_resource():
    document = {**SERVICE, "status": {"url": 5, "readyReplicas": 2, "later": True}}
    status = InferenceService.model_validate(document).status
    assert (status.url, status.ready_replicas) == (None, 2)


def test_nothing_of_a_resource_can_be_changed():
    read = InferenceService.model_validate(service(runtime={"resources": {"limits": {"cpu": "1"}}}))
    with pytest.raises(ValidationError):
        read.spec.replicas = 3
    with pytest.raises(TypeError):
        read.spec.runtime.resources.limits["cpu"] = "2"
    hash(read)


def test_a_read_only_map_is_copied_pickled_and_written_as_json():
    made = FrozenMap({"a": 1})
    assert copy.deepcopy(made) == pickle.loads(pickle.dumps(made)) == json.loads(json.dumps(made))


def test_deepspeed_settings_are_frozen_all_the_way_down():
    spec = {
        "data": {"sources": [{"name": "books", "uri": "pvc://data/books"}]},
        "checkpoint": {"uri": "pvc://ckpt/run1"},
        "deepspeedConfig": {"optimizer": {"params": {"betas": [0.9, 0.95]}}},
    }
    read = TrainingJob.model_validate({"metadata": {"name": "gpt"}, "spec": spec})
    assert read.spec.deepspeed_config["optimizer"]["params"]["betas"] == (0.9, 0.95)
    with pytest.raises(TypeError):
        read.spec.deepspeed_config["optimizer"].update(x=1)


@pytest.mark.parametrize(
    ("checkpoint", "told"),
    [
        ({"everySteps": 5}, "must be set when checkpoint.schedule is Steps, and only then"),
        ({"schedule": "Steps"}, "must be set when checkpoint.schedule is Steps, and only then"),
        ({"schedule": "Seconds"}, "must be set when checkpoint.schedule is Seconds, and only then"),
    ],
)
def test_a_schedule_and_its_interval_go_together(checkpoint, told):
    spec = {
        "image": "x",
        "checkpoint": {"uri": "pvc://ckpt/run1", **checkpoint},
    }
    assert refused({"metadata": {"name": "a"}, "spec": spec}, TrainingJob) == (
        f"spec.checkpoint: {told}",
    )


def test_names_leave_room_for_suffixes():
    document = {"metadata": {"name": "a" * 51}, "spec": {}}
    assert refused(document, Tenant) == ("metadata.name must not be longer than 50 characters",)


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("pvc://models/a/b", ("pvc", "models", "a/b", "models")),
        ("pvc://models", ("pvc", "models", "", "models")),
        ("pvc://models/a/", ("pvc", "models", "a", "models")),
        ("hf://org/name", ("hf", "org", "name", None)),
        ("https://host:8443/x?y=1", ("https", "host:8443", "x?y=1", None)),
    ],
)
def test_a_uri_has_parts(uri, parts):
    read = ModelUri.parse(uri)
    assert (read.scheme, read.place, read.path, read.claim) == parts


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "models/a",
        "file:///etc/passwd",
        "pvc:///a",
        "pvc://Models/a",
        "pvc://models/../a",
        "pvc://models/a/..",
        "pvc://models//etc",
        "pvc://models/./a",
        "pvc://models/a\n",
        "pvc://models/a b",
        "s3://bucket/../other",
        "https://" + "x" * 1100,
    ],
)
def test_a_uri_never_leaves_its_place(uri):
    with pytest.raises(ValueError, match="must"):
        ModelUri.parse(uri)
    assert refused(service(model={"uri": uri}))


@given(st.from_regex(r"pvc://[a-z0-9.\-/]{0,20}", fullmatch=True))
def test_the_parser_and_the_spec_agree_on_every_uri(uri):
    try:
        ModelUri.parse(uri)
        parsed = True
    except ValueError:
        parsed = False
    try:
        InferenceService.model_validate(service(model={"uri": uri}))
        read = True
    except ValidationError:
        read = False
    assert parsed == read
