"""What the noise of `noise_budget` really is: its R beside that of the gradients over all parameters.

    python benchmarks/noise_budget.py --data fmnist.npz --out benchmarks/results/noise_budget.json

The recipe bounds R for the norms that it stored: of one layer, of an augmented view, of an earlier epoch.
Here `noise_budget` trains `cnn` on 5,000 augmented images for 16 epochs, seeds 0 to 2. Before some of its
epochs the gradients of 300 samples over all parameters are computed, each on one new augmented view, in eval
mode. Every row says what share a rule would keep of all samples, and what R it has for these gradients.
Rules: the stored norms; norms of today by each signal, on the same view as the gradients; el2n of today on
another view; the gradients themselves, which no method knows; InfoBatch; uniform draws. One thread.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import samplewise as sw
from samplewise.bench import data as images
from samplewise.bench import machine, rngstate
from samplewise.bench.augment import crop_and_flip
from samplewise.bench.settings import Settings
from samplewise.bench.train import Run, Task
from samplewise.loop.gradients import norms
from samplewise.pickers.noise import inflation, probabilities

NOISE, LEAST, EPOCHS, MEASURED = 0.5, 0.1, 16, (1, 4, 8, 12)
SIGNALS = {"el2n": sw.signals.el2n, "loss": sw.signals.error_probability, "grand": sw.signals.grand}


def ranked(values: Any) -> Any:
    """The position of each value in ascending order."""
    return np.argsort(np.argsort(values))


def today(run: Run, views: torch.Tensor, labels: torch.Tensor) -> tuple[dict[str, Any], Any]:
    """Each signal, and the loss, of every sample on its view."""
    parts = [run.forward(both) for both in zip(views.split(500), labels.split(500), strict=True)]
    found = {name: torch.cat([_measured(signal, part) for part in parts]) for name, signal in SIGNALS.items()}
    return {name: column.numpy() for name, column in found.items()}, torch.cat(
        [p.loss for p in parts]
    ).numpy()


def _measured(signal: Any, outputs: sw.Outputs) -> torch.Tensor:
    return sw.signals.measure((signal,), outputs, "noise_budget")[signal.__name__]


def rules(run: Run, epoch: int, seed: int, count: int) -> Iterator[dict[str, Any]]:
    """One row for each rule, before `epoch` is planned."""
    data, draw = run.task.data, sw.rng.generator(seed, epoch, "noise_budget")
    rows = torch.randperm(len(data), generator=draw)[:count].sort().values
    views = crop_and_flip(data.train_x, seed, epoch, 10**6)
    run.model.eval()
    with torch.no_grad():
        fresh, losses = today(run, views, data.train_y)
    real = norms(run.model, run.forward, (views[rows], data.train_y[rows]), count).double().numpy()
    stored = run.selector.score().numpy()
    chosen = rows.numpy()
    found = {"el2n, stored": (probabilities(stored, NOISE, LEAST), stored[chosen])}
    for name, norm in fresh.items():
        found[f"{name}, today, same view"] = probabilities(norm, NOISE, LEAST), norm[chosen]
    with torch.no_grad():
        other, _ = today(run, crop_and_flip(data.train_x, seed, epoch, 10**6 + 1), data.train_y)
    found["el2n, today, another view"] = probabilities(other["el2n"], NOISE, LEAST), other["el2n"][chosen]
    low = losses < losses.mean()
    found["infobatch, keep 0.5, losses of today"] = np.where(low, 0.5, 1.0), losses[chosen]
    for rule, (chances, norm) in found.items():
        yield _row(rule, chances[chosen], real, float(chances.mean()), norm, epoch, seed)
    run.model.train()
    own = probabilities(real, NOISE, LEAST)
    yield _row("gradients themselves", own, real, float(own.mean()), real, epoch, seed)
    share = float(found["el2n, stored"][0].mean())
    yield _row("uniform, share of el2n, stored", np.full(count, share), real, share, None, epoch, seed)


def _row(
    rule: str, chances: Any, real: Any, share: float, norm: Any, epoch: int, seed: int
) -> dict[str, Any]:
    both = None if norm is None else float(np.corrcoef(ranked(norm), ranked(real))[0, 1])
    return {
        "rule": rule,
        "epoch": epoch,
        "seed": seed,
        "share": round(share, 4),
        "real_inflation": round(inflation(real, chances), 4),
        "rank_correlation": None if both is None else round(both, 4),
    }


def measured(seed: int, data: Any, settings: Settings, count: int) -> list[dict[str, Any]]:
    """The rows of one training."""
    run = Run(Task("noise_budget", sw.recipes.noise_budget(NOISE, LEAST), seed, data, settings))
    run.prepare()
    found: list[dict[str, Any]] = []
    for epoch in range(settings.epochs):
        if epoch in MEASURED:
            found += rules(run, epoch, seed, count)
        run.step = 0
        for batch in run.loader():
            run.train_step(batch, epoch)
    return found


def main() -> None:
    """Write the rows, and print their means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--limit", type=int, default=5000)
    parser.add_argument("--quick", action="store_true", help="few samples: it shows that the script works")
    given = parser.parse_args()
    if given.quick:
        given.seeds, given.samples, given.limit = 1, 20, 200
    torch.set_num_threads(1)
    settings = Settings(
        data=given.data, limit=given.limit, epochs=EPOCHS, batch_size=128, augment=True, device="cpu"
    ).resolved()
    data = images.limited(images.load(given.data), given.limit)
    begun, rows = time.process_time(), []
    with rngstate.kept():
        for seed in range(given.seeds):
            rows += measured(seed, data, settings, given.samples)
    about = {
        "what": (__doc__ or "").strip().splitlines()[0],
        "data": data.name,
        "n": len(data),
        "noise": NOISE,
        "least": LEAST,
        "model": settings.model,
        "epochs": EPOCHS,
        "samples": given.samples,
        "seconds": round(time.process_time() - begun, 1),
        "machine": machine.machine("cpu"),
        "versions": machine.versions(),
    }
    given.out.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    for rule in dict.fromkeys(row["rule"] for row in rows):
        mine = [row for row in rows if row["rule"] == rule]
        for epoch in MEASURED:
            here = [row for row in mine if row["epoch"] == epoch]
            share, real = (np.array([row[key] for row in here]) for key in ("share", "real_inflation"))
            ranks = [row["rank_correlation"] or 0 for row in here]
            told = f"share {share.mean():.3f}, R {real.mean():.2f} ({real.min():.2f} to {real.max():.2f})"
            print(f"{rule}, epoch {epoch}: {told}, rank correlation {np.mean(ranks):.2f}")


if __name__ == "__main__":
    main()
