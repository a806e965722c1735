"""Find injected wrong labels by recorded scores, beside cleanlab on the probabilities of the same training.

    python benchmarks/label_errors.py --data fmnist.npz --out benchmarks/results/label_errors.json
        --picture docs/images/label-errors.png

5,000 images, 20 % of the labels replaced by another class, `cnn`, 10 epochs, seeds 0 to 2. Each seed has one
training that records all scores, and three trainings on two thirds each for the out-of-sample probabilities
that cleanlab recommends. One thread.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import samplewise as sw
from samplewise.analysis import (
    Detection,
    Suspects,
    cleanlab_label_errors,
    detection,
    suspected_label_errors,
)
from samplewise.analysis.pictures import label_errors as picture
from samplewise.bench import data as images
from samplewise.bench import machine, rngstate
from samplewise.bench.altered import altered, wrong_labels
from samplewise.bench.data import ImageData
from samplewise.bench.settings import Settings
from samplewise.bench.train import Run, Task
from samplewise.pickers import TopK
from samplewise.policy import Policy
from samplewise.trackers import Mean

EPOCHS, FOLDS = 10, 3
HOWS = ("self_confidence", "normalized_margin")
DRAWN = {
    *("aum", "aum_logit", "el2n", "forgetting", "mean_loss", "dyn_unc"),
    *("cleanlab self_confidence, mean of training", f"cleanlab self_confidence, {FOLDS} folds"),
}
"""The rankings in the picture."""


def own(signal: Any) -> Policy:
    """A method that records the mean of a signal over all epochs."""
    return Policy(signal=signal, tracker=Mean(), picker=TopK(0.5), source="training", final="end")


def recorder() -> sw.Recorder:
    """All scores of one training."""
    return sw.Recorder(
        {
            "aum": "aum",
            "aum_logit": sw.recipes.aum(of="logit"),
            "el2n": "el2n",
            "el2n_first3": sw.recipes.el2n(first=3),
            "forgetting": "forgetting",
            "mean_loss": own(sw.signals.loss),
            "mean_confidence": own(sw.signals.target_probability),
            "dyn_unc": sw.recipes.dyn_unc(window=EPOCHS),
        }
    )


def train(policy: Any, data: ImageData, settings: Settings, seed: int) -> tuple[Run, torch.Tensor]:
    """A finished training, and the mean probabilities of its training forwards, (n, C)."""
    run = Run(Task("scores", policy, seed, data, settings))
    total = torch.zeros(len(data), data.classes, dtype=torch.float64)
    for epoch in range(settings.epochs):
        for batch in run.loader():
            rate = (settings.lr or 0.0) * run.selector.lr_factor(epoch)
            run.lr_shape.set(run.optimizer, rate, run.selector.progress)
            loss, outputs = run.selector.loss(batch, return_outputs=True)
            run.optimizer.zero_grad()
            torch.autograd.backward(loss)
            run.optimizer.step()
            total[batch.ids] += outputs.logits.detach().double().softmax(1)
    return run, total / settings.epochs


def predicted(run: Run, x: torch.Tensor) -> torch.Tensor:
    """The probabilities of a trained model in eval mode, (n, C)."""
    run.model.eval()
    with torch.no_grad():
        return torch.cat([run.forward.logits(part).double().softmax(1) for part in x.split(500)])


def out_of_sample(data: ImageData, settings: Settings, seed: int) -> torch.Tensor:
    """The probabilities of models that did not train on the sample, (n, C)."""
    fold = torch.arange(len(data)) % FOLDS
    found = torch.empty(len(data), data.classes, dtype=torch.float64)
    for held in range(FOLDS):
        rest = data.trained_on(data.train_x[fold != held], data.train_y[fold != held])
        run, _ = train("full", rest, settings, seed)
        found[fold == held] = predicted(run, data.train_x[fold == held])
    return found


def rankings(data: ImageData, settings: Settings, seed: int) -> Iterator[tuple[str, str, Suspects]]:
    """The name, the origin and the ranking, for all scores of a seed."""
    run, mean = train(recorder(), data, settings, seed)
    table = run.selector.table()
    for by in table.columns:
        yield by, "recorded", suspected_label_errors(table, by)
    sources = {
        "mean of training": mean,
        "end of training": predicted(run, data.train_x),
        f"{FOLDS} folds": out_of_sample(data, settings, seed),
    }
    for origin, probabilities in sources.items():
        for how in HOWS:
            yield f"cleanlab {how}", origin, cleanlab_label_errors(probabilities, data.train_y, how)


def row(name: str, origin: str, found: Detection, seed: int) -> dict[str, Any]:
    """What a ranking finds."""
    return {
        "ranking": name,
        "of": origin,
        "seed": seed,
        "n": found.n,
        "wrong": found.wrong,
        "average_precision": round(found.average_precision, 4),
        "precision_at_wrong": round(found.precision_at(found.wrong), 4),
        "precision_at_tenth": round(found.precision_at(found.wrong // 10), 4),
    }


def main() -> None:
    """Write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="few samples: it shows that the script works")
    given = parser.parse_args()
    limit, given.seeds = (200, 1) if given.quick else (5000, given.seeds)
    torch.set_num_threads(1)
    settings = Settings(
        data=given.data, limit=limit, label_noise=0.2, epochs=EPOCHS, batch_size=128, device="cpu"
    ).resolved()
    clean = images.limited(images.load(given.data), settings.limit or 0)
    rows: list[dict[str, Any]] = []
    shown: dict[str, list[Detection]] = {}
    begun = time.process_time()
    with rngstate.kept():
        for seed in range(given.seeds):
            data = altered(clean, settings, seed)
            wrong = wrong_labels(len(data), settings.label_noise, seed)
            assert torch.equal(wrong, data.train_y != clean.train_y)  # noqa: S101 - the mask is the truth
            for name, origin, suspects in rankings(data, settings, seed):
                found = detection(suspects, wrong)
                rows.append(row(name, origin, found, seed))
                shown.setdefault(name if origin == "recorded" else f"{name}, {origin}", []).append(found)
            print(f"seed {seed}: {time.process_time() - begun:.0f} s")
    about = {
        "what": (__doc__ or "").strip().splitlines()[0],
        "data": clean.name,
        "label_noise": settings.label_noise,
        "noise": settings.noise,
        "model": settings.model,
        "epochs": EPOCHS,
        "seconds": round(time.process_time() - begun, 1),
        "machine": machine.machine("cpu"),
        "versions": machine.versions(),
    }
    given.out.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    if given.picture is not None:
        drawn = {name: runs for name, runs in shown.items() if name in DRAWN}
        about_it = f"{clean.name}, {len(clean):,} images, {EPOCHS} epochs; means of {given.seeds} seeds."
        title = "Injected wrong labels, found by recorded scores and by cleanlab"
        picture.draw(drawn, given.picture, title=title, caption=about_it)
    for made in rows:
        print(made["seed"], made["ranking"], made["of"], made["average_precision"])


if __name__ == "__main__":
    main()
