"""A script as users write it, in a few lines: a model of its own on the job's text, or on its own
samples when OWN_SAMPLES says how many."""

import os

import deepspeed
import preamar_train
import torch

SAMPLES = int(os.environ.get("OWN_SAMPLES", "0")) or None
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Embedding(512, 32), torch.nn.Linear(32, 512))
optimizer = {"type": "AdamW", "params": {"lr": 0.01}}

with preamar_train.job(samples=SAMPLES) as job:
    engine, *_ = deepspeed.initialize(
        model=model, model_parameters=model.parameters(), config=job.config(optimizer=optimizer)
    )
    for rows in job.batches(engine):
        batch = torch.from_numpy(rows)
        if SAMPLES:  # what the script reads itself, by the numbers of its samples
            batch = torch.cat((batch % 512, (batch * 7 + 3) % 512), dim=1)
        logits = engine(batch[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), batch[:, 1:])
        engine.backward(loss)
        engine.step()
        job.step(loss)
if job.rank == 0:
    print("all is trained", flush=True)  # noqa: T201
