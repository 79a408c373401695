"""The demo's story: asleep, woken, busy, asleep again; trained; served; counted.

Each step does the thing through the interfaces that users have, returns its figures, and fails with a
sentence when what it promises is not seen.
"""

import asyncio
import subprocess
import time
from pathlib import Path
from typing import Any

from e2e.cluster import Cluster
from e2e.clusters.choice import provider
from e2e.clusters.images import reference
from e2e.demo.calls import Count, Used, client, load, used
from e2e.kube import OURS, Json, Kube, condition, standing, until
from e2e.seed import seed
from e2e.stages import PYTHON, ROOT

EXAMPLES = Path(__file__).resolve().parents[2] / "docs/examples"
NAMESPACE = "demo"
TENANT = "demo"
REQUESTS = 200
CALLERS = 40
Figures = dict[str, Any]


class Story:
    """The steps in order; what one counts, a later one compares."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.kube = Kube(cluster.kubeconfig)
        self.embedded = Count()
        self.completed = Count()
        self.before: dict[str, Used] = {}

    def service(self, name: str) -> Json | None:
        return self.kube.get(OURS, "InferenceService", name, NAMESPACE)

    def asleep(self, name: str) -> bool:
        service = self.service(name)
        ready = condition(service, "Ready")
        return (
            ready.get("reason") == "Asleep"
            and ready.get("status") == "True"
            and self.kube.endpoints(name, NAMESPACE) == 0
        )

    def remember_the_books(self) -> None:
        """What the books say before our requests: the demo may run twice on one cluster."""
        self.before = {
            "minilm": used(self.cluster, TENANT, "minilm", "embeddings"),
            "gpt": used(self.cluster, TENANT, "gpt", "completions"),
        }

    def first_answer(self) -> Figures:
        """1. A service at zero answers its first request, held while it wakes."""
        self.kube.namespace(NAMESPACE)
        self.kube.apply_file(EXAMPLES / "storage.yaml", NAMESPACE)
        image = reference("demo-models")
        seed(self.kube, NAMESPACE, "seed-minilm", image, ["minilm", "/target/minilm"], "models")
        self.kube.apply_file(EXAMPLES / "minilm.yaml", NAMESPACE)
        until(
            "minilm has loaded once and sleeps",
            240,
            lambda: self.asleep("minilm"),
            progress=lambda: standing(self.service("minilm")),
        )
        self.remember_the_books()
        start = time.monotonic()
        answer = client(self.cluster).embeddings.create(
            model="minilm", input="High tide lifts every boat in the harbour."
        )
        waited = time.monotonic() - start
        self.embedded.told(answer.usage)
        return {"wake_seconds": round(waited, 2), "dimensions": len(answer.data[0].embedding)}

    def follow_the_queue(self) -> Figures:
        """2. Replicas follow the queue up to max and back to zero; no request fails."""
        service = self.service("minilm")
        assert service is not None
        most = service["spec"]["scaling"]["max"]
        peak, reached, count = asyncio.run(self.busy(most))
        self.embedded.add(count)
        assert not count.failed, f"{count.failed} requests failed: {dict(count.errors)}"
        assert peak == most, f"{peak} replicas were ready at most, not {most}"
        assert count.answered >= REQUESTS, f"only {count.answered} requests in time"
        start = time.monotonic()
        until(
            "minilm sleeps again",
            180,
            lambda: self.asleep("minilm"),
            progress=lambda: standing(self.service("minilm")),
        )
        return {
            "requests": count.answered,
            "failed": count.failed,
            "peak_replicas": peak,
            "max_replicas": most,
            "seconds_to_peak": round(reached, 1),
            "seconds_to_zero": round(time.monotonic() - start, 1),
            "p50_seconds": round(count.percentile(0.5), 3),
            "p99_seconds": round(count.percentile(0.99), 3),
        }

    async def busy(self, most: int) -> tuple[int, float, Count]:
        """Load until every replica has been seen ready, at least a while and at most 4 minutes."""
        enough = asyncio.Event()
        start = time.monotonic()
        task = asyncio.create_task(load(self.cluster, "minilm", CALLERS, enough))
        peak, reached = 0, 0.0
        while not task.done():
            await asyncio.sleep(0.5)
            ready = await asyncio.to_thread(self.kube.endpoints, "minilm", NAMESPACE)
            if ready > peak:
                peak, reached = ready, time.monotonic() - start
            passed = time.monotonic() - start
            if (peak >= most and passed > reached + 10) or passed > 240:
                enough.set()
        return peak, reached, await task

    def train(self) -> Figures:
        """3. A language model trains with DeepSpeed on two ranks, goes on with one and with two
        again, loses and repeats no sample, and beats the unigram baseline."""
        self.make_what_training_needs()
        image = reference("demo-text")
        seed(self.kube, NAMESPACE, "seed-books", image, ["/target/books"], "data")
        self.kube.apply_file(EXAMPLES / "gpt-train.yaml", NAMESPACE)
        if condition(self.job("gpt"), "Succeeded").get("status") != "True":  # a second demo
            self.resize("gpt", (1, 2))

        def finished() -> Json | None:
            job = self.job("gpt")
            stalled = condition(job, "Stalled")
            assert stalled.get("status") != "True", f"training is stalled: {stalled['message']}"
            succeeded = condition(job, "Succeeded")
            assert succeeded.get("status") != "False" or succeeded.get("reason") != "Failed", (
                f"training failed: {succeeded.get('message')}"
            )
            return job if succeeded.get("status") == "True" else None

        job = until(
            "the training job has succeeded",
            300,
            finished,
            every=1.0,
            progress=lambda: standing(self.job("gpt")),
        )
        status = job["status"]
        loss = float(status["evaluation"]["loss"])
        unigram = float(status["evaluation"]["unigram"])
        assert loss < unigram, f"held-out loss {loss} is not below the unigram baseline {unigram}"
        samples, resizes = status["samples"], status["resizes"]
        lost = samples["skipped"] + samples["duplicated"]
        assert not lost, f"{lost} samples were left out or taken twice"
        verified = condition(job, "ContinuityVerified")
        assert verified["status"] == "True", f"it did not go on as it was: {verified['message']}"
        return {
            "held_out_loss": loss,
            "unigram_loss": unigram,
            "steps": status["progress"]["step"],
            "world_size": status["worldSize"],
            "samples": samples["consumed"],
            "samples_lost_or_repeated": lost,
            "resizes": [f"{each['from']} to {each['to']}" for each in reversed(resizes)],
            "pause_seconds": [float(each["pauseSeconds"]) for each in reversed(resizes)],
            "attempts": status["attempt"],
        }

    def job(self, name: str) -> Json | None:
        return self.kube.get(OURS, "TrainingJob", name, NAMESPACE)

    def resize(self, name: str, sizes: tuple[int, ...]) -> None:
        """Scale a job as kubectl does, each time once it has saved at the size before."""
        kubectl, at = provider(self.cluster.provider).kubectl(), 2
        for size in sizes:

            def trains(at: int = at) -> bool:
                status = (self.job(name) or {}).get("status") or {}
                saved = (status.get("checkpoint") or {}).get("worldSize")
                return saved == status.get("workers") == at

            until(
                f"{name} trains with {at}",
                300,
                trains,
                progress=lambda: standing(self.job(name)),
            )
            kubectl("scale", f"tjob/{name}", f"--replicas={size}", f"--namespace={NAMESPACE}")
            at = size

    def make_what_training_needs(self) -> None:
        """Its images and names of pods: built after the first answer, waited for here."""
        for what in (("dns",), ("images", "demo-text", "deepspeed")):
            subprocess.run([PYTHON, "-m", "e2e.clusters", *what], cwd=ROOT, check=True)

    def complete(self) -> Figures:
        """4. What was trained is served: an openai client streams a completion from it."""
        self.kube.apply_file(EXAMPLES / "gpt-serve.yaml", NAMESPACE)
        until("the gateway offers gpt", 60, self.offered)
        start = time.monotonic()
        stream = client(self.cluster, 240).completions.create(
            model="gpt",
            prompt="This command",
            max_tokens=32,
            temperature=0.7,
            seed=7,
            stream=True,
            stream_options={"include_usage": True},
        )
        pieces, first, usage = [], 0.0, None
        for chunk in stream:
            if chunk.choices and chunk.choices[0].text:
                first = first or time.monotonic() - start
                pieces.append(chunk.choices[0].text)
            usage = chunk.usage or usage
        assert len(pieces) > 1, f"not a stream: {pieces}"
        assert usage is not None, "the stream ended without its usage"
        self.completed.told(usage)
        return {
            "text": "".join(pieces),
            "chunks": len(pieces),
            "tokens": usage.completion_tokens,
            "first_token_seconds": round(first, 2),
        }

    def offered(self) -> bool:
        return "gpt" in {model.id for model in client(self.cluster).models.list()}

    def bill(self) -> Figures:
        """5. The bill is what the clients counted: requests, tokens and money, to the last digit."""
        counted = {"minilm": self.embedded, "gpt": self.completed}
        booked = {
            "minilm": used(self.cluster, TENANT, "minilm", "embeddings"),
            "gpt": used(self.cluster, TENANT, "gpt", "completions"),
        }
        grown = {model: booked[model].since(self.before[model]) for model in booked}
        expected = {
            model: Used(
                one.answered,
                one.input_tokens,
                one.output_tokens,
                one.cost,
                # Which no answer tells but in its cost.
                grown[model].accelerator_ms,
            )
            for model, one in counted.items()
        }
        assert grown == expected, f"the books say {grown}, the clients {expected}"
        return {
            model: {
                "requests": one.requests,
                "input_tokens": one.input_tokens,
                "output_tokens": one.output_tokens,
                "cpu_seconds": one.accelerator_ms / 1000,
                "usd": f"{one.cost:f}",
            }
            for model, one in grown.items()
        }
