"""What happens between two steps: is it sound, who asked for a stop, is a checkpoint due?

All ranks decide alike because they decide on numbers that were added over all ranks once a
step: the loss, whether anyone was asked to stop, whether rank 0's clock says it is time to save.
A step counts once all of that is known to be sound; a loss or gradient that is not finite ends
the attempt before any checkpoint of it exists.
"""

import math
import time

from preamar_train.checkpoint import save as checkpoints
from preamar_train.checkpoint.manifest import Manifest
from preamar_train.checkpoint.prove import prove
from preamar_train.failures import Class, TrainerFailure
from preamar_train.pace.samples import SampleLedger
from preamar_train.pace.schedule import interval
from preamar_train.pace.waits import Waits
from preamar_train.reports.losses import Losses
from preamar_train.run import Run
from preamar_train.start import resuming
from preamar_train.start.batches import Batches
from preamar_train.stop import Stop


class Steps:
    """Counts the steps of a run, from where its checkpoint ended."""

    def __init__(self, run: Run, stop: Stop) -> None:
        self._run, self._stop = run, stop
        self._last_save = time.monotonic()
        self._waits = Waits(run.gang.rank, run.gang.size)
        self.stopped = False
        """Whether someone asked for a stop before the last step, and the checkpoint is saved."""
        run.losses = Losses(
            run.store.path if run.gang.rank == 0 else None,
            run.step,
            run.request.steps,
            run.gang.size,
            run.request.attempt,
        )
        run.progress.say(state="Training")

    @property
    def going(self) -> bool:
        """Whether another step is to be trained."""
        return not self.stopped and self._run.step < self._run.request.steps

    def ended(self, loss: float, norm: float, batches: Batches) -> None:
        """One step was computed: the sum of the losses of this rank's samples (0 where another
        rank of its copy tells them) and the norm of the gradient, on these batches."""
        run, request = self._run, self._run.request
        seconds = interval(request.checkpoint, run.progress.save_seconds())
        late = seconds is not None and time.monotonic() - self._last_save >= seconds
        taken = batches.taken if run.layout.reads else ()  # one rank of each copy counts
        mean, norm, asked, due, *more = run.gang.add(
            loss,
            norm,
            self._stop.asked,
            late and run.gang.rank == 0,
            *self._waits.mine(batches.waited()),
            *run.ledger.marks(run.step, taken),
        )
        _finite(mean, norm, run)
        run.step += 1
        run.stepped_at = time.time()
        waited, marks = more[: run.gang.size], more[run.gang.size :]
        run.ledger.book(marks)
        mean /= request.global_batch
        run.log(f"step={run.step} loss={mean:.9g} consumed={run.ledger.consumed}")
        run.progress.stepped(run.step, run.ledger.words(), mean, self._waits.ratio(waited))
        run.losses.add(run.step, mean)
        _went_on(run)
        every = request.checkpoint.every_steps
        if asked or due or run.step == request.steps or (every and run.step % every == 0):
            save(run)
            self._last_save = time.monotonic()
            self._waits.paused()
        self.stopped = bool(asked) and run.step < request.steps
        if not self.going:
            run.losses.close()


def _finite(loss: float, norm: float, run: Run) -> None:
    if not math.isfinite(loss) or not math.isfinite(norm):
        what = "loss" if not math.isfinite(loss) else "gradient"
        raise TrainerFailure(
            Class.NON_FINITE_LOSS,
            f"The {what} was not finite in step {run.step + 1}: the learning rate may be too high "
            f"for {run.request.precision}.",
        )


def resume(run: Run) -> None:
    """Puts the newest checkpoint into the engine, if there is one, and holds it to its proof."""
    found = run.ready.resume
    if found and run.ready.folder:
        run.verified = resuming.load(
            run.engine, run.gang, run.layout, run.ready, run.request, run.canary, run.phases
        )
        run.step, run.saved = found.step, found
        batch = run.request.global_batch
        run.ledger = SampleLedger(batch, found.consumed, found.skipped, found.duplicated)
        run.progress.say(
            resumedFrom=run.step,
            step=run.step,
            resumed=run.verified.words(),
            **run.ledger.words(),
        )


def _went_on(run: Run) -> None:
    """After the first step: how long there was none."""
    if run.verified:
        pause = run.verified.pause()
        run.phases.mark("first step")
        run.log(
            f"went on from step {run.verified.step} of {run.verified.before} ranks after {pause:.2f} s "
            f"without a step: {run.verified.tensors} tensors as saved, canary {run.verified.delta:+.3g}"
        )
        run.log(f"before that step: {run.phases}")
        run.progress.say(resumed=run.verified.words(pause))
        run.verified = None


def save(run: Run) -> None:
    """A verified checkpoint of the steps so far."""
    run.losses.sync()
    run.progress.say(state="Saving")
    begun = time.monotonic()
    proof = prove(run.engine, run.gang, run.layout, run.canary.loss(), run.stepped_at)
    proved = time.monotonic() - begun
    plan = Manifest(
        step=run.step,
        world_size=run.gang.size,
        zero_stage=run.request.zero_stage,
        tensor=run.layout.tensor,
        pipeline=run.layout.pipeline,
        expert=run.layout.expert,
        attempt=run.request.attempt,
        uid=run.request.uid,
        config=run.ready.config,
        data=run.ready.corpus.digest,
        at="",
        files={},
        **run.ledger.words(),
    )
    run.saved = checkpoints.save(run.engine, run.gang, run.store, run.ready.tokenizer, plan, proof)
    if run.gang.rank == 0:
        run.store.prune(run.request.checkpoint.keep)
    run.log(
        f"checkpoint of step {run.step} verified: {run.saved.bytes:,} bytes in "
        f"{time.monotonic() - begun:.2f} s, {proved:.2f} s of it for the proof"
    )
    run.progress.say(
        state="Training", checkpoint=checkpoints.told(run.saved, run.request.checkpoint.uri)
    )
    if run.request.checkpoint.mean_seconds:  # schedule Auto
        every = interval(run.request.checkpoint, run.progress.save_seconds())
        run.progress.say(everySeconds=every and round(every, 1))
    run.progress.paused()
