"""The training loop: steps, stops, checkpoints, judgement, export.

All ranks decide alike because they decide on numbers that were added over all ranks once a
step: the loss, whether anyone was asked to stop, whether rank 0's clock says it is time to save.
A step counts once all of that is known to be sound; a loss or gradient that is not finite ends
the attempt before any checkpoint of it exists.
"""

import math
import os
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deepspeed
import torch

from preamar_train import evaluate, resuming
from preamar_train.batches import Batches
from preamar_train.checkpoint import save as checkpoints
from preamar_train.checkpoint.manifest import Manifest
from preamar_train.checkpoint.prove import prove
from preamar_train.checkpoint.store import Store
from preamar_train.continuity import Verified
from preamar_train.deepspeed_config import config_of
from preamar_train.failures import DONE, STOPPED, Class, Failure
from preamar_train.gang import Gang, join
from preamar_train.interconnect import check
from preamar_train.losses import Losses
from preamar_train.model import Decoder
from preamar_train.phases import Phases
from preamar_train.prepare import Ready, prepare
from preamar_train.presets import Shape, shape_of
from preamar_train.progress import Progress
from preamar_train.rank import Stop
from preamar_train.request import Request, parse
from preamar_train.resuming import Canary
from preamar_train.samples import Ledger
from preamar_train.schedule import interval
from preamar_train.waits import Waits
from preamar_train.weights import agreed_digest


@dataclass(slots=True)
class Run:
    """What the parts of one attempt share."""

    request: Request
    shape: Shape
    gang: Gang
    store: Store
    ready: Ready
    engine: Any
    device: torch.device
    progress: Progress
    step: int
    saved: Manifest | None
    ledger: Ledger
    canary: Canary
    verified: Verified | None
    phases: Phases
    losses: Losses
    stepped_at: float = 0.0

    def log(self, sentence: str) -> None:
        if self.gang.rank == 0:
            print(sentence, flush=True)


def train(stop: Stop, told: Path) -> int:
    """Trains as PREAMAR_TRAIN orders; 0 when all is done, 75 when stopped with a checkpoint."""
    phases = Phases()
    phases.mark("imports")
    gpu = os.environ.get("DS_ACCELERATOR", "cpu") != "cpu"
    request = parse(os.environ.get("PREAMAR_TRAIN", ""), int(os.environ["WORLD_SIZE"]))
    shape = shape_of(request.preset, request.parameters)
    config = config_of(request, shape, gpu=gpu)
    progress = Progress(told, request.attempt, request.steps)
    progress.say(state="Starting")
    gang = join(gpu=gpu)
    progress.say(interconnect=check(gang, gpu=gpu))
    phases.mark("meeting")
    store = Store(Path(request.checkpoint.path), request.uid, request.attempt)
    ready = prepare(request, shape, store, gang, lambda: progress.say(state="Starting"))
    if ready.resume:
        progress.say(checkpoint=checkpoints.told(ready.resume, request.checkpoint.uri))
    phases.mark("data")
    config |= resuming.config(ready, gang)
    phases.mark("read")
    run = _begin(request, shape, gang, store, ready, config, progress, phases, gpu=gpu)
    stopped = _steps(run, stop)
    run.losses.close()
    digest = agreed_digest(run.engine, gang)
    run.log(f"all {gang.size} ranks hold equal weights: {digest}")
    if stopped:
        progress.say(state="Stopped")
    else:
        _finish(run)
    gang.barrier()  # whoever leaves first would reset its peers' last exchange
    return STOPPED if stopped else DONE


def _begin(request, shape, gang, store, ready, config, progress, phases, *, gpu: bool) -> Run:
    torch.manual_seed(shape.seed)
    apart = request.zero_stage == 3
    with deepspeed.zero.Init(config_dict_or_path=config) if apart else nullcontext():
        model = Decoder(shape)
    engine, *_ = deepspeed.initialize(
        model=model, model_parameters=model.parameters(), config=config, dist_init_required=False
    )
    device = torch.device("cuda", gang.local_rank) if gpu else torch.device("cpu")
    phases.mark("engine")
    canary = Canary(engine, gang, ready.corpus, device)
    ledger, step, verified = Ledger(request.global_batch), 0, None
    if ready.resume and ready.folder:
        verified = resuming.load(engine, gang, ready, request, canary, phases)
        step, saved = ready.resume.step, ready.resume
        ledger = Ledger(request.global_batch, saved.consumed, saved.skipped, saved.duplicated)
        progress.say(resumedFrom=step, step=step, resumed=verified.words(), **ledger.words())
    losses = Losses(
        store.path if gang.rank == 0 else None, step, request.steps, gang.size, request.attempt
    )
    run = Run(
        request,
        shape,
        gang,
        store,
        ready,
        engine,
        device,
        progress,
        step,
        ready.resume,
        ledger,
        canary,
        verified,
        phases,
        losses,
    )
    run.log(
        f"{request.preset} with {shape.parameters():,} weights, {gang.size} ranks, ZeRO {request.zero_stage}, "
        f"{request.precision}, from step {step} to {request.steps}, "
        f"{sum(ready.corpus.sizes().values()):,} samples of {shape.sequence} tokens"
    )
    return run


def _steps(run: Run, stop: Stop) -> bool:
    """Trains up to the last step, or until someone was asked to stop; then True."""
    batches = Batches(run.request, run.ready.corpus, run.gang)
    last_save = time.monotonic()
    run.progress.say(state="Training")
    waits = Waits(run.gang.rank, run.gang.size)
    while run.step < run.request.steps:
        loss = _one_step(run, batches)
        seconds = interval(run.request.checkpoint, run.progress.save_seconds())
        late = seconds is not None and time.monotonic() - last_save >= seconds
        mean, norm, asked, due, *more = run.gang.add(
            loss,
            _gradient_norm(run.engine),
            stop.asked,
            late and run.gang.rank == 0,
            *waits.mine(batches.waited()),
            *run.ledger.marks(run.step, batches.taken),
        )
        if not math.isfinite(mean) or not math.isfinite(norm):
            what = "loss" if not math.isfinite(mean) else "gradient"
            raise Failure(
                Class.NON_FINITE_LOSS,
                f"The {what} was not finite in step {run.step + 1}: the learning rate may be too high "
                f"for {run.request.precision}.",
            )
        run.step += 1
        run.stepped_at = time.time()
        waited, marks = more[: run.gang.size], more[run.gang.size :]
        run.ledger.book(marks)
        mean /= run.request.global_batch
        run.log(f"step={run.step} loss={mean:.9g} consumed={run.ledger.consumed}")
        run.losses.add(run.step, mean)
        run.progress.stepped(run.step, run.ledger.words(), mean, waits.ratio(waited))
        _went_on(run)
        every = run.request.checkpoint.every_steps
        if asked or due or run.step == run.request.steps or (every and run.step % every == 0):
            _save(run)
            last_save = time.monotonic()
            waits.paused()
        if asked and run.step < run.request.steps:
            return True
    return False


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


def _one_step(run: Run, batches: Batches) -> float:
    """Sum of the losses of this rank's samples in one optimiser step."""
    total = 0.0
    for rows in batches.of_step(run.step):
        batch = torch.from_numpy(rows).to(run.device)
        losses = run.engine(batch[:, :-1], batch[:, 1:])
        run.engine.backward(losses.mean())
        run.engine.step()
        total += float(losses.detach().double().sum())
    return total


def _gradient_norm(engine: Any) -> float:
    if engine.fp16_enabled():  # its loss scaling overflows on purpose, and skips such a step
        return 0.0
    norm = engine.get_global_grad_norm()
    return 0.0 if norm is None else float(norm)


def _save(run: Run) -> None:
    run.progress.say(state="Saving")
    begun = time.monotonic()
    proof = prove(run.engine, run.gang, run.canary.loss(), run.stepped_at)
    proved = time.monotonic() - begun
    run.losses.sync()
    plan = Manifest(
        step=run.step,
        world_size=run.gang.size,
        zero_stage=run.request.zero_stage,
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


def _finish(run: Run) -> None:
    run.progress.say(state="Evaluating")
    rows = run.ready.corpus.held_out(evaluate.MOST_SAMPLES)
    loss = evaluate.held_out_loss(run.engine, run.gang, rows, run.request.micro_batch, run.device)
    unigram = evaluate.unigram(run.ready.corpus, rows[:, 1:], run.shape.vocabulary)
    run.log(f"held-out loss {loss:.6f} (unigram {unigram:.6f}) over {rows[:, 1:].size:,} tokens")
    words = {"evaluation": {"loss": f"{loss:.6f}", "unigram": f"{unigram:.6f}"}}
    if run.request.export:
        from preamar_train.export.publish import export

        run.progress.say(state="Exporting", **words)
        export(run.engine, run.gang, run.shape, run.ready.tokenizer, run.request)
        words["exported"] = run.request.export.uri
    run.progress.say(state="Done", **words)
