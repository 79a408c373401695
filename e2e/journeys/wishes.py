"""Manifests as sentences: small services and jobs that differ in what a journey is about."""

from typing import Any

from e2e.kube import OURS, Json


def merged(base: Json, changes: Json) -> Json:
    """``base`` with nested ``changes`` laid over it."""
    out = dict(base)
    for key, value in changes.items():
        old = out.get(key)
        out[key] = (
            merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
        )
    return out


def a_service(name: str, **changes: Any) -> Json:
    """MiniLM on CPU, 0 to 2 replicas, quick to sleep; ``changes`` are laid over the spec."""
    spec: Json = {
        "model": {"name": name, "uri": "pvc://models/minilm", "task": "Embed"},
        "accelerator": {"type": "CPU"},
        "scaling": {
            "min": 0,
            "max": 2,
            "target": {"signal": "InFlight", "value": "4"},
            "idleSeconds": 15,
        },
        "drain": {"seconds": 15},
    }
    return {
        "apiVersion": OURS,
        "kind": "InferenceService",
        "metadata": {"name": name},
        "spec": merged(spec, changes),
    }


def a_job(name: str, **changes: Any) -> Json:
    """gpt-tiny on two ranks for 40 steps with a checkpoint every 10."""
    spec: Json = {
        "model": {"preset": "gpt-tiny"},
        "parallelism": {"zeroStage": 1},
        "batch": {"global": 16},
        "workers": {"replicas": 2, "min": 1, "max": 2},
        "accelerator": {"type": "CPU"},
        "data": {"sources": [{"name": "books", "uri": "pvc://data/books", "weight": "1"}]},
        "checkpoint": {
            "uri": f"pvc://checkpoints/{name}",
            "schedule": "Steps",
            "everySteps": 10,
            "keep": 2,
        },
        "steps": 40,
        "precision": "FP32",
    }
    return {
        "apiVersion": OURS,
        "kind": "TrainingJob",
        "metadata": {"name": name},
        "spec": merged(spec, changes),
    }


def an_hpa(name: str, model: str, least: int = 0, most: int = 2, calm: int = 15) -> Json:
    """A stock HPA for one model: four requests queued or in flight a replica; it shrinks when fewer
    were enough for ``calm`` seconds."""
    rapid = {"type": "Percent", "value": 100, "periodSeconds": 15}
    metric = {"name": "preamar_demand", "selector": {"matchLabels": {"model": model}}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": OURS, "kind": "InferenceService", "name": name},
            "minReplicas": least,
            "maxReplicas": most,
            "metrics": [
                {
                    "type": "External",
                    "external": {
                        "metric": metric,
                        "target": {"type": "AverageValue", "averageValue": "4"},
                    },
                }
            ],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": calm, "policies": [rapid]}},
        },
    }
