"""How well a small model ranks for a large one: `Scoring(scorer=...)`, over a training.

    python benchmarks/scorer.py [--quick] [--data cifar10.npz] [--out benchmarks/results/scorer.json]

A training with `evolved_sampling(keep=0.25)` whose scores come from a small model that trains beside the
large one. In an early, a middle and the last epoch, both models score the same batches of 64. The table has
the Spearman rank correlation of the small model's loss with the large one's inside a batch, and the share of
the quarter with the highest losses that the small model finds too (chance: a quarter), as mean and standard
deviation over seeds. Cost is what the ledger counts by FLOPs, as a share of ordinary training, beside that of
the same training scored by the large model itself.

Pairs: the ResNet form on images of 16 x 16 pixels with the CNN (32 and 64 channels), and the CNN on images of
32 x 32 with a CNN of a quarter of the channels. `every=4` trains the small model on every 4th batch. Without
`--data` the images are the digits of scikit-learn. `--data` is a file with train_x (n, side, side, 3) or
(n, 3, side, side) and train_y.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional as F

import samplewise as sw
from samplewise.bench.models import build

PHASES = ("early", "middle", "late")
B, KEEP = 64, 0.25
PAIRS = {"resnet18 and cnn": ("resnet18", 16), "cnn and a quarter of it": ("cnn", 32)}


class Narrow(nn.Module):
    """The CNN of `samplewise train --model cnn` with a quarter of its channels."""

    def __init__(self, classes: int, side: int) -> None:
        super().__init__()
        stride, left = (2, side // 2) if side > 8 else (1, side)
        shrink = 2 if side > 16 else 1
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(shrink),
            nn.Conv2d(8, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.head = nn.Linear(16 * (left // shrink // 2) ** 2, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, classes)."""
        logits: Tensor = self.head(self.body(x).flatten(1))
        return logits


def images(path: Path | None, n: int, side: int) -> torch.utils.data.TensorDataset:
    """The first n training images at this size, standardised."""
    if path is None:
        from sklearn.datasets import load_digits

        x, y = load_digits(return_X_y=True)
        pixels, labels = torch.tensor(x, dtype=torch.float32).reshape(-1, 1, 8, 8), torch.tensor(y)
        pixels = pixels.repeat(1, 3, 1, 1)
    else:
        with np.load(path) as file:
            pixels = torch.tensor(np.asarray(file["train_x"][:n]), dtype=torch.float32)
            labels = torch.tensor(np.asarray(file["train_y"][:n]).reshape(-1), dtype=torch.int64)
        pixels = pixels if pixels.shape[1] == 3 else pixels.permute(0, 3, 1, 2)
    pixels = F.interpolate(pixels[:n], (side, side), mode="area")
    return torch.utils.data.TensorDataset((pixels - pixels.mean()) / pixels.std(), labels[:n].long())


def forward_of(model: nn.Module) -> Callable[[Any], Tensor]:
    """Per-sample cross-entropy."""

    def forward(batch: Any) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1], reduction="none")

    return forward


def losses(model: nn.Module, batch: sw.Batch) -> Tensor:
    """The losses of a batch in eval mode."""
    model.eval()
    with torch.no_grad():
        found = forward_of(model)(batch.data)
    model.train()
    return found


def agreement(full: Tensor, scored: Tensor) -> tuple[float, float]:
    """Spearman's rank correlation, and the overlap of the highest quarters."""
    k = round(KEEP * len(full))
    both = {*full.topk(k).indices.tolist()} & {*scored.topk(k).indices.tolist()}
    return float(spearmanr(full, scored).statistic), len(both) / k


def training(pair: str, every: int | None, data: Any, epochs: int, batches: int, seed: int) -> dict[str, Any]:
    """A training scored by the small model; `every=None`: by the large one. Its cost and agreements."""
    name, side = PAIRS[pair]
    large = build(name, 3, 10, side, seed)
    torch.manual_seed(seed)
    small = build("cnn", 3, 10, side, seed + 100) if name != "cnn" else Narrow(10, side)
    scorer = sw.Scorer(small, forward_of(small), every=every) if every is not None else None
    selector = sw.Selector(
        sw.recipes.evolved_sampling(keep=KEEP), data, forward_of(large), model=large, epochs=epochs,
        batch_size=B, seed=seed, scoring=sw.Scoring(scorer=scorer),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(large.parameters(), lr=1e-3)
    at, found = {1: "early", epochs // 2: "middle", epochs - 1: "late"}, dict[str, list[Any]]()
    for epoch in range(epochs):
        for number, batch in enumerate(selector.loader(drop_last=True)):
            if scorer is not None and epoch in at and number < batches:
                pairs = found.setdefault(at[epoch], [])
                pairs.append(agreement(losses(large, batch), losses(small, batch)))
            optimizer.zero_grad()
            selector.loss(batch).backward()
            optimizer.step()
    means = {
        phase: [statistics.mean(column) for column in zip(*rows, strict=True)]
        for phase, rows in found.items()
    }
    return {"cost": selector.ledger.cost_share, "phases": means}


def measured(given: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each pair of models and each way of scoring."""
    n, epochs, batches = (256, 4, 2) if given.quick else (given.samples, given.epochs, 16)
    pairs = ["cnn and a quarter of it"] if given.quick else list(PAIRS)
    rows = []
    for pair in pairs:
        share = 2 if PAIRS[pair][0] == "resnet18" else 1  # the larger network gets half the images
        data = images(given.data, n // share, PAIRS[pair][1])
        for every in (None, 1, 4):
            runs = [
                training(pair, every, data, epochs, batches, seed)
                for seed in range(1 if given.quick else given.seeds)
            ]
            row: dict[str, Any] = {"pair": pair, "every": every, "n": len(data), "epochs": epochs}
            row["cost"] = round(statistics.mean(run["cost"] for run in runs), 4)
            for phase in PHASES if every is not None else ():
                for place, what in enumerate(("spearman", "overlap")):
                    values = [run["phases"][phase][place] for run in runs]
                    row[f"{phase}_{what}"] = round(statistics.mean(values), 3)
                    row[f"{phase}_{what}_sd"] = round(statistics.stdev(values), 3) if len(runs) > 1 else None
            rows.append(row)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown: rank correlation / overlap."""
    lines = ["| models | scored by | cost | early | middle | late |", "| --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        by = "the large model" if row["every"] is None else f"the small one, every={row['every']}"
        cells = ["", "", ""]
        if row["every"] is not None:
            cells = [
                " / ".join(_number(row, f"{phase}_{what}") for what in ("spearman", "overlap"))
                for phase in PHASES
            ]
        lines.append(f"| {row['pair']} | {by} | {row['cost']:.3f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _number(row: dict[str, Any], name: str) -> str:
    spread = row[f"{name}_sd"]
    return f"{row[name]:.2f}" + ("" if spread is None else f" ±{spread:.2f}")


def main() -> None:
    """Measure, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few samples, one pair, one seed")
    parser.add_argument("--data", type=Path, help="images; without it the digits of scikit-learn")
    parser.add_argument("--samples", type=int, default=3200)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="a JSON file; the table is written beside it")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = measured(given)
    print(table(rows))
    if given.out is not None:
        shown = {"data": "digits" if given.data is None else given.data.stem, "rows": rows}
        given.out.write_text(json.dumps(shown, indent=1) + "\n")
        seeds = 1 if given.quick else given.seeds
        given.out.with_suffix(".md").write_text(
            f"Measured by benchmarks/scorer.py on {shown['data']}, {seeds} seeds; ± is the standard "
            f"deviation over them. Rank correlation / overlap of the highest quarter.\n\n{table(rows)}\n"
        )


if __name__ == "__main__":
    main()
