"""What cheaper scores cost, and how well they rank: `Scoring(dtype=..., view=..., at=...)`.

    python benchmarks/cheap_scores.py [--quick] [--out benchmarks/results/cheap_scores.json]

Cost: process CPU time of a step of `ordered_sgd`, which scores every batch and trains on its highest losses,
as a share of a full step. All rungs take turns, step by step, in one process with one thread; the table has
the median of the rounds. The ResNet form gets 64 images of 16 x 16 pixels, the encoder 32 texts of 64 tokens.

Ranking: a training with `evolved_sampling(keep=0.25)` whose scores come from a layer. In an early, a middle
and the last epoch, every rung scores the same batches with the same weights. The table has the Spearman rank
correlation with the full loss inside a batch, and the share of the quarter with the highest losses that the
rung finds too (chance: a quarter). The images are the digits of scikit-learn. The texts are made here: six of
the 64 words of a text are of its class, at random places, and a tenth of the labels is drawn at random.
"""

import argparse
import json
import statistics
import time
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
from samplewise.loop.scoring import without_trace

BF16, KEEPS, TARGETS = torch.bfloat16, (0.25, 0.5), (0.45, 0.65)
TOKENS, WORDS = 64, 400
Forward = Callable[[Any], Any]


class Encoder(nn.Module):
    """Four transformer layers of width 128 on embedded tokens, their mean, and a linear layer."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(WORDS, 128), nn.Embedding(TOKENS, 128)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(128, 4, 512, 0.1, batch_first=True, norm_first=True) for _ in range(4)
        )
        self.head = nn.Linear(128, classes)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (b, classes)."""
        found = self.embed(ids) + self.place.weight[: ids.shape[1]]
        for layer in self.layers:
            found = layer(found)
        return self.head(found.mean(1))


def images(n: int, side: int) -> tuple[dict[str, Tensor], Tensor]:
    """Digits of scikit-learn in three channels."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = torch.tensor(x, dtype=torch.float32).reshape(-1, 1, 8, 8)[:n] / 16 - 0.3
    x = F.interpolate(x, (side, side)).repeat(1, 3, 1, 1)
    return {"input": x}, torch.tensor(y)[:n]


def texts(n: int, classes: int = 10) -> tuple[dict[str, Tensor], Tensor]:
    """Random words; six of each text's 64 are of its class."""
    rng = torch.Generator().manual_seed(0)
    ids, y = (
        torch.randint(100, WORDS, (n, TOKENS), generator=rng),
        torch.randint(classes, (n,), generator=rng),
    )
    places = torch.rand(n, TOKENS, generator=rng).argsort(1)[:, :6]
    ids.scatter_(1, places, 10 * y[:, None] + torch.randint(10, (n, 6), generator=rng))
    wrong = torch.rand(n, generator=rng) < 0.1
    return {"input_ids": ids}, torch.where(wrong, torch.randint(classes, (n,), generator=rng), y)


class Data(torch.utils.data.Dataset):
    """Samples as dicts, with targets."""

    def __init__(self, parts: dict[str, Tensor], targets: Tensor) -> None:
        self.parts, self.targets = parts, targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {name: part[i] for name, part in self.parts.items()} | {"y": self.targets[i]}


def network(name: str) -> tuple[nn.Module, str, Any]:
    """A model, the layer at which scores end, and its view (None: it takes images of one size only)."""
    torch.manual_seed(0)
    if name == "encoder":
        return Encoder(10), "layers.0", sw.views.first(TOKENS // 2)
    model = build(name, 3, 10, 8, 0)
    return model, "stages.1" if name == "resnet18" else "first", sw.views.half if name == "resnet18" else None


def forward_of(model: nn.Module) -> Forward:
    """Per-sample cross-entropy."""

    def forward(batch: dict[str, Tensor]) -> Tensor:
        inputs = batch["input_ids"] if "input_ids" in batch else batch["input"]
        return F.cross_entropy(model(inputs), batch["y"], reduction="none")

    return forward


def rungs(at: str, view: Any) -> dict[str, sw.Scoring]:
    """The ladder of scores."""
    found = {"full loss": sw.Scoring(), "bf16": sw.Scoring(dtype=BF16), "at": sw.Scoring(at=at)}
    found["bf16 + at"] = sw.Scoring(dtype=BF16, at=at)
    if view is not None:
        found |= {"view": sw.Scoring(view=view), "bf16 + view": sw.Scoring(dtype=BF16, view=view)}
        found["bf16 + view + at"] = sw.Scoring(dtype=BF16, view=view, at=at)
    return found


# ------------------------------------------------------------------------------------------ cost


class Timed:
    """One training whose steps are timed."""

    def __init__(self, name: str, policy: Any, scoring: sw.Scoring | None, data: Data, b: int) -> None:
        self.model = network(name)[0]
        self.selector = sw.Selector(
            policy, data, forward_of(self.model), model=self.model, epochs=9, batch_size=b, scoring=scoring
        )
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3)
        self.selector.set_epoch(0)
        self.batch = self._batch(data, b)

    @staticmethod
    def _batch(data: Data, b: int) -> dict[str, Tensor]:
        return {name: part[:b] for name, part in data.parts.items()} | {"y": data.targets[:b]}

    def step(self, number: int) -> float:
        """Seconds of CPU time of a step."""
        b = len(self.batch["y"])
        ids = torch.arange(b).roll(number)  # another batch each time
        begun = time.process_time()
        self.optimizer.zero_grad()
        self.selector.loss(sw.Batch(ids, self.batch)).backward()
        self.optimizer.step()
        return time.process_time() - begun


def costs(name: str, rounds: int, b: int, side: int) -> dict[str, dict[str, float]]:
    """Shares of a full step, by rung and keep."""
    _, at, view = network(name)
    data = Data(*(texts(b) if name == "encoder" else images(b, side)))
    runs = {("full training", 1.0): Timed(name, "full", None, data, b)}
    for keep in KEEPS:
        for rung, scoring in rungs(at, view).items():
            runs[rung, keep] = Timed(name, sw.recipes.ordered_sgd(keep=keep), scoring, data, b)
    seconds: dict[Any, list[float]] = {run: [] for run in runs}
    for number in range(rounds + 2):  # the first two count FLOPs and fill caches
        for run, timed in runs.items():
            seconds[run].append(timed.step(number))
    whole = seconds["full training", 1.0][2:]
    found: dict[str, dict[str, float]] = {}
    for (rung, keep), spent in seconds.items():
        shares = [mine / full for mine, full in zip(spent[2:], whole, strict=True)]
        if rung != "full training":
            low, high = np.percentile(shares, (10, 90))
            row = {"share": statistics.median(shares), "low": float(low), "high": float(high)}
            found.setdefault(rung, {})[str(keep)] = {key: round(value, 3) for key, value in row.items()}
    return found


# --------------------------------------------------------------------------------------- ranking


def rankings(name: str, n: int, epochs: int, batches: int) -> dict[str, dict[str, dict[str, float]]]:
    """Rank correlation and overlap with the full loss, by rung and phase."""
    model, at, view = network(name)
    forward, b = forward_of(model), 64
    data = Data(*(texts(n) if name == "encoder" else images(n, 8)))
    policy = sw.recipes.evolved_sampling(keep=0.25, anneal=0.05)
    selector = sw.Selector(
        policy, data, forward, model=model, epochs=epochs, batch_size=b, scoring=sw.Scoring(at=at)
    )
    phases = {1: "early", epochs // 2: "middle", epochs - 1: "late"}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for epoch in range(epochs):
        for number, batch in enumerate(selector.loader(drop_last=True)):
            if epoch in phases and number < batches:
                full, *_ = losses(model, forward, batch, sw.Scoring(), selector)
                for rung, scoring in rungs(at, view).items():
                    scored = losses(model, forward, batch, scoring, selector)[0]
                    found.setdefault(rung, {}).setdefault(phases[epoch], []).append(agreement(full, scored))
            optimizer.zero_grad()
            selector.loss(batch).backward()
            optimizer.step()
    return {
        rung: {
            phase: {
                "spearman": round(statistics.mean(pair[0] for pair in pairs), 3),
                "overlap": round(statistics.mean(pair[1] for pair in pairs), 3),
            }
            for phase, pairs in by_phase.items()
        }
        for rung, by_phase in found.items()
    }


def losses(
    model: nn.Module, forward: Forward, batch: sw.Batch, scoring: sw.Scoring, selector: sw.Selector
) -> tuple[Tensor, ...]:
    """What a rung gives for a batch."""
    scores = selector._step.scoring_forward
    data = batch.data if scoring.view is None else scoring.view(batch.data)
    with without_trace(model, scoring):
        if scoring.at is None:
            return (forward(data).float(),)
        return (scores.run(forward, sw.Batch(batch.ids, data)).loss.float(),)


def agreement(full: Tensor, scored: Tensor) -> tuple[float, float]:
    """Spearman's rank correlation, and the overlap of the highest quarters."""
    k = len(full) // 4
    both = {*full.topk(k).indices.tolist()} & {*scored.topk(k).indices.tolist()}
    return float(spearmanr(full, scored).statistic), len(both) / k


# ---------------------------------------------------------------------------------------- report


def table(found: dict[str, Any]) -> str:
    """Both parts, as Markdown."""
    lines = ["Share of the CPU time of a full step, median (10th to 90th percentile):", ""]
    lines += ["| network | scores | keep 1/4 | keep 1/2 |", "| --- | --- | --- | --- |"]
    for name, by_rung in found["cost"].items():
        for rung, by_keep in by_rung.items():
            cells = [
                f"{row['share']:.2f} ({row['low']:.2f} to {row['high']:.2f})" for row in by_keep.values()
            ]
            lines.append(f"| {name} | {rung} | {' | '.join(cells)} |")
    lines += ["", "Rank correlation with the full loss / overlap of the highest quarter:", ""]
    lines += ["| network | scores | early | middle | late |", "| --- | --- | --- | --- | --- |"]
    for name, by_rung in found["ranking"].items():
        for rung, phases in by_rung.items():
            cells = [f"{row['spearman']:.2f} / {row['overlap']:.2f}" for row in phases.values()]
            lines.append(f"| {name} | {rung} | {' | '.join(cells)} |")
    lines += ["", *best(found)]
    return "\n".join(lines)


def best(found: dict[str, Any]) -> list[str]:
    """The cheapest rung whose correlation stays at 0.8, by network."""
    said = []
    for name, by_rung in found["cost"].items():
        ranked = found["ranking"][name]
        kept = [rung for rung in by_rung if min(row["spearman"] for row in ranked[rung].values()) >= 0.8]
        for keep, target in zip(KEEPS, TARGETS, strict=True):
            share, rung = min((by_rung[rung][str(keep)]["share"], rung) for rung in kept)
            verdict = "meets" if share <= target else "misses"
            said.append(f"- {name}, keep {keep}: {rung}, {share:.2f}; it {verdict} the target of {target}.")
    return ["The cheapest scores whose rank correlation is at least 0.8 in every phase:", "", *said]


def main() -> None:
    """Measure, print the tables and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round, few samples, no ResNet")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="a JSON file; the tables are written beside it")
    given = parser.parse_args()
    torch.set_num_threads(1)
    quick = given.quick
    rounds, b, side = (1, 16, 8) if quick else (given.rounds, 64, 16)
    networks = ("encoder",) if quick else ("resnet18", "encoder")
    n, epochs, batches = (128, 4, 1) if quick else (1600, 6, 8)
    found: dict[str, Any] = {"rounds": rounds}
    found["cost"] = {
        name: costs(name, rounds, b if name == "resnet18" else b // 2, side) for name in networks
    }
    found["ranking"] = {name: rankings(name, n, epochs, batches) for name in ("cnn", *networks)}
    print(table(found))
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=1) + "\n")
        given.out.with_suffix(".md").write_text(
            f"Measured by benchmarks/cheap_scores.py, {rounds} rounds.\n\n{table(found)}\n"
        )


if __name__ == "__main__":
    main()
