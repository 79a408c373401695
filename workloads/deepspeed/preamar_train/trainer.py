"""The built-in trainer from start to end: prepare, train, judge, export."""

import os
from pathlib import Path

import torch
import torch._dynamo  # Torch's optimizers do when made; here no rank waits for another yet.

from preamar_train.checkpoint import save as checkpoints
from preamar_train.checkpoint.store import Store
from preamar_train.failures import DONE, STOPPED
from preamar_train.models.presets import ModelShape, shape_of
from preamar_train.pace.phases import Phases
from preamar_train.pace.progress import RankProgress
from preamar_train.pace.samples import SampleLedger
from preamar_train.parallel.build import build
from preamar_train.parallel.layout import Layout
from preamar_train.parallel.piped import Piped
from preamar_train.parallel.plain import Plain
from preamar_train.parallel.possible import must_be_possible
from preamar_train.ranks.gang import join
from preamar_train.ranks.interconnect import check
from preamar_train.ranks.weights import agreed_digest
from preamar_train.request import parse
from preamar_train.run import Run
from preamar_train.start import evaluate, resuming
from preamar_train.start.batches import Batches
from preamar_train.start.deepspeed_config import compiles, config_of
from preamar_train.start.prepare import prepare
from preamar_train.start.resuming import LossCanary
from preamar_train.steps import Steps, resume
from preamar_train.stop import Stop


def train(stop: Stop, told: Path) -> int:
    """Trains as PREAMAR_TRAIN orders; 0 when all is done, 75 when stopped with a checkpoint."""
    phases = Phases()
    phases.mark("imports")
    gpu = os.environ.get("DS_ACCELERATOR", "cpu") != "cpu"
    request = parse(os.environ.get("PREAMAR_TRAIN", ""), int(os.environ["WORLD_SIZE"]))
    shape = shape_of(request.preset, request.parameters)
    must_be_possible(request, shape)
    config = config_of(request, shape, gpu=gpu)
    if not compiles(config):
        # DeepSpeed decorates a function of an optimizer that is not used here with torch.compile,
        # which would import the whole of Inductor.
        os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    progress = RankProgress(told, request.attempt, request.steps)
    progress.say(state="Starting")
    gang = join(gpu=gpu)
    progress.say(interconnect=check(gang, gpu=gpu))
    phases.mark("meeting")
    layout = Layout.of(request, gang.rank, gang.size)
    store = Store(Path(request.checkpoint.path), request.uid, request.attempt)
    ready = prepare(request, shape, store, gang, lambda: progress.say(state="Starting"))
    if ready.resume:
        progress.say(checkpoint=checkpoints.told(ready.resume, request.checkpoint.uri))
    phases.mark("data")
    config |= resuming.config(ready, gang)
    phases.mark("read")
    device = torch.device("cuda", gang.local_rank) if gpu else torch.device("cpu")
    model = build(request, shape, config, layout, device)
    phases.mark("engine")
    canary, ledger = LossCanary(model, gang, ready.corpus), SampleLedger(request.global_batch)
    run = Run(request, gang, layout, store, ready, model.engine, progress, canary, phases, ledger)
    resume(run)
    run.log(
        f"{request.preset} with {shape.parameters():,} weights, {gang.size} ranks{layout.words()}, ZeRO {request.zero_stage}, "
        f"{request.precision}, from step {run.step} to {request.steps}, "
        f"{sum(ready.corpus.sizes().values()):,} samples of {shape.sequence} tokens"
    )
    batches, steps = Batches(request, ready.corpus, layout), Steps(run, stop)
    while steps.going:
        loss = model.train(batches.of_step(run.step))
        steps.ended(loss, model.gradient_norm(), batches)
    batches.close()
    digest = agreed_digest(run.engine, layout, gang)
    run.log(f"all {gang.size} ranks hold equal weights: {digest}")
    if steps.stopped:
        progress.say(state="Stopped")
    else:
        _finish(run, model, shape)
    gang.barrier()  # whoever leaves first would reset its peers' last exchange
    return STOPPED if steps.stopped else DONE


def _finish(run: Run, model: Plain | Piped, shape: ModelShape) -> None:
    run.progress.say(state="Evaluating")
    rows = run.ready.corpus.held_out(evaluate.MOST_SAMPLES)
    loss = evaluate.held_out_loss(model, run.gang, rows)
    unigram = evaluate.unigram(run.ready.corpus, rows[:, 1:], shape.vocabulary)
    run.log(f"held-out loss {loss:.6f} (unigram {unigram:.6f}) over {rows[:, 1:].size:,} tokens")
    words = {"evaluation": {"loss": f"{loss:.6f}", "unigram": f"{unigram:.6f}"}}
    if run.request.export:
        from preamar_train.export.publish import export

        run.progress.say(state="Exporting", **words)
        export(run, shape)
        words["exported"] = run.request.export.uri
    run.progress.say(state="Done", **words)
