"""A user's own training script as a job that survives: data, checkpoints, progress, stop points.

    with preamar_train.job() as job:
        engine, *_ = deepspeed.initialize(model=…, model_parameters=…, config=job.config())
        for rows in job.batches(engine):
            loss = …
            engine.backward(loss)
            engine.step()
            job.step(loss)

The block ends after the last step, and what follows it runs once all is trained. When a stop was
asked for, or something fails, the process ends with the block, as its agent expects.
"""

import faulthandler
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import numpy as np

from preamar_train.failures import FAILED, STOPPED, Class, TrainerFailure, classify
from preamar_train.parallel.plain import norm_of
from preamar_train.reports import rank_state
from preamar_train.request import parse
from preamar_train.run import Run
from preamar_train.start import resuming
from preamar_train.start.batches import Batches
from preamar_train.start.deepspeed_config import config_of
from preamar_train.steps import Steps, resume
from preamar_train.stop import Stop
from preamar_train.user_script import begin


def _uncounted(given: int, told: int) -> TrainerFailure:
    return TrainerFailure(
        Class.CONFIG_ERROR,
        f"job.step(loss) was called {told} times for {given} micro-batches of a step: call it once "
        "for each, after engine.step().",
    )


class Job:
    """One attempt of a TrainingJob, as its rank sees it."""

    def __init__(self, samples: int | None) -> None:
        self._stop, self._samples = Stop(), samples
        self._told = rank_state.of_rank(int(os.environ["RANK"]))
        self._told.parent.mkdir(parents=True, exist_ok=True)
        self._run: Run | None = None
        self._steps: Steps | None = None
        self._batches: Batches | None = None
        self._total, self._given, self._told_of = 0.0, 0, 0

    def __enter__(self) -> Self:
        faulthandler.enable()
        stacks = self._told.with_suffix(".stack").open("w")
        faulthandler.register(signal.SIGUSR1, file=stacks, all_threads=True)
        try:
            world = int(os.environ["WORLD_SIZE"])
            self.request = parse(
                os.environ.get("PREAMAR_TRAIN", ""), world, own_data=self._samples is not None
            )
            self._run = begin(self.request, self._told, self._samples)
            self._resumed = resuming.config(self._run.ready, self._run.gang)
        except BaseException as error:  # noqa: BLE001 - whatever ends a rank must be told
            self._fail(error)
        return self

    @property
    def rank(self) -> int:
        """This rank among all."""
        return self._run.layout.rank

    @property
    def first_step(self) -> int:
        """Steps that were trained before this attempt; they are not trained again."""
        found = self._run.ready.resume
        return found.step if found else 0

    def config(self, **more: Any) -> dict[str, Any]:
        """DeepSpeed's configuration: batch sizes, precision and ZeRO as ordered, and what the
        job's `deepspeedConfig` or `more` say."""
        gpu = os.environ.get("DS_ACCELERATOR", "cpu") != "cpu"
        return config_of(self.request, None, gpu=gpu, more=more) | self._resumed

    def batches(self, engine: Any) -> Iterator[np.ndarray]:
        """Puts the newest checkpoint into `engine`, then gives the micro-batches of this rank from
        there on: tokens [micro, sequence + 1], or numbers of samples [micro, 1] if the script has
        data of its own. Ends after the last step, or where a stop was asked for."""
        run = self._run
        run.engine = engine
        resume(run)
        run.log(f"own script, {run.gang.size} ranks, from step {run.step} to {self.request.steps}")
        self._steps = Steps(run, self._stop)
        self._batches = Batches(self.request, run.ready.corpus, run.layout)
        while self._steps.going:
            self._total, self._given, self._told_of = 0.0, 0, 0
            for rows in self._batches.of_step(run.step):
                self._given += 1
                yield rows
                if self._told_of != self._given:
                    raise _uncounted(self._given, self._told_of)
        self._batches.close()

    def step(self, loss: Any) -> None:
        """A micro-batch is done; `loss` is its mean over samples. Call it once for each, after
        `engine.step()`: it saves when a checkpoint is due."""
        run, request = self._run, self.request
        self._told_of += 1
        if self._told_of != self._given:
            raise _uncounted(self._given, self._told_of)
        self._total += float(loss) * request.micro_batch
        if self._given == request.accumulation:
            told = self._total if run.layout.judges else 0.0
            self._steps.ended(told, norm_of(run.engine), self._batches)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        if error is not None:
            self._fail(error)
        run = self._run
        stopped = self._steps is not None and self._steps.stopped
        run.progress.say(state="Stopped" if stopped else "Done")
        run.gang.barrier()  # whoever leaves first would reset its peers' last exchange
        if stopped:
            self._leave(STOPPED)

    def _fail(self, error: BaseException) -> None:
        failure = classify(error)
        traceback.print_exception(error)
        words = {**rank_state.read(self._told), "state": "Failed"}
        words["failure"] = {"class": failure.kind.value, "explanation": failure.sentence}
        rank_state.write(self._told, words)
        self._leave(FAILED)

    def _leave(self, code: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # threads of torch may wait for peers that are gone
