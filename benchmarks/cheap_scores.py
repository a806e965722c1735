"""What cheaper scores cost, and how well they rank: `Scoring(dtype=..., view=..., at=..., scorer=...)`.

    python benchmarks/cheap_scores.py [--quick] [--networks resnet18 encoder cnn]
    python benchmarks/cheap_scores.py --networks fast minilm --data cifar10.npz --glue data/glue --seeds 2
        --out benchmarks/results/cheap_scores.json

Cost: process CPU time of a step of `ordered_sgd`, which scores every batch and trains on its highest losses,
as a share of a full step. All rungs take turns, step by step, in one process with one thread; the table has
the median of the rounds.

Ranking: a training with `evolved_sampling(keep=0.25)` whose scores come from a layer. In an early, a middle
and the last epoch, every rung scores the same batches with the same weights. The table has the Spearman rank
correlation with the full loss inside a batch, and the share of the quarter with the highest losses that the
rung finds too (chance: a quarter), as mean and, with several seeds, standard deviation over them. A small
model (`scorer`) is trained on every batch of the same training by an Adam of its own, as a `sw.Scorer` is.

| network | samples |
| --- | --- |
| resnet18, cnn | digits of scikit-learn; cost at 16 x 16 pixels, ranking at 8 x 8 |
| encoder | made here: six of the 64 words of a text are of its class, a tenth of the labels is random |
| fast | CIFAR-10 at 32 x 32 pixels; `--data` is a file with train_x (n, 32, 32, 3) and train_y |
| minilm | SST-2, cut or padded to 32 tokens; `--glue` is the folder of sst2-train.parquet |

Networks that the file of `--out` holds and that are not measured now stay in it.
"""

import argparse
import copy
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cheap_scores_tasks import Data, Forward, Task, forward_of, tasks
from scipy.stats import spearmanr
from torch import Tensor, nn

import samplewise as sw
from samplewise.bench.machine import machine
from samplewise.cost.ledger import Ledger
from samplewise.loop.scoring import without_trace
from samplewise.loop.second_model import SecondModel

KEEPS, TARGETS = (0.25, 0.5), (0.45, 0.65)

# ------------------------------------------------------------------------------------------ cost


class Timed:
    """One training whose steps are timed."""

    def __init__(self, model: nn.Module, policy: Any, scoring: sw.Scoring | None, data: Data) -> None:
        self.model, b = copy.deepcopy(model), len(data)
        self.selector = sw.Selector(
            policy, data, forward_of(self.model), model=self.model, epochs=9, batch_size=b, scoring=scoring
        )
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3)
        self.selector.set_epoch(0)
        self.batch = data.parts | {"y": data.targets}

    def step(self, number: int) -> float:
        """Seconds of CPU time of a step."""
        b = len(self.batch["y"])
        ids = torch.arange(b).roll(number)  # another batch each time
        begun = time.process_time()
        self.optimizer.zero_grad()
        self.selector.loss(sw.Batch(ids, self.batch)).backward()
        self.optimizer.step()
        return time.process_time() - begun


def prepared(task: Task, data: Data, seed: int) -> nn.Module:
    """A new network. The filters of `fast` are computed from the data."""
    torch.manual_seed(seed)
    model = task.model(seed)
    if hasattr(model, "prepare"):
        model.prepare(data.parts["input"])
    return model


def costs(task: Task, rounds: int) -> dict[str, dict[str, Any]]:
    """Shares of a full step, by rung and keep."""
    data = Data(*(task.timed or task.data)(task.b_timed))
    model = prepared(task, data, 0)
    runs = {("full training", 1.0): Timed(model, "full", None, data)}
    for keep in KEEPS:
        ladder = task.rungs()
        if (scorer := task.scorer()) is not None:
            ladder["scorer"] = sw.Scoring(scorer=scorer)
        for rung, scoring in ladder.items():
            runs[rung, keep] = Timed(model, sw.recipes.ordered_sgd(keep=keep), scoring, data)
    seconds: dict[Any, list[float]] = {run: [] for run in runs}
    for number in range(rounds + 2):  # the first two count FLOPs and fill caches
        for run, timed in runs.items():
            seconds[run].append(timed.step(number))
    whole = seconds["full training", 1.0][2:]
    found: dict[str, dict[str, Any]] = {}
    for (rung, keep), spent in seconds.items():
        shares = [mine / full for mine, full in zip(spent[2:], whole, strict=True)]
        if rung != "full training":
            low, high = np.percentile(shares, (10, 90))
            row = {"share": statistics.median(shares), "low": float(low), "high": float(high)}
            found.setdefault(rung, {})[str(keep)] = {key: round(value, 3) for key, value in row.items()}
    return found


# --------------------------------------------------------------------------------------- ranking


def ranking(task: Task, batches: int, seed: int) -> dict[str, dict[str, list[float]]]:
    """Rank correlation and overlap with the full loss in one training, by rung and phase."""
    data = Data(*task.data(task.n))
    model = prepared(task, data, seed)
    forward, policy = forward_of(model), sw.recipes.evolved_sampling(keep=0.25, anneal=0.05)
    selector = sw.Selector(
        policy, data, forward, model=model, epochs=task.epochs, batch_size=task.b, seed=seed,
        scoring=sw.Scoring(at=task.at),
    )  # fmt: skip
    second, scorer = None, task.scorer()
    if scorer is not None:
        second = SecondModel(scorer, selector.engine, Ledger(), forward, model, None)
    phases = {1: "early", task.epochs // 2: "middle", task.epochs - 1: "late"}
    optimizer = torch.optim.AdamW(model.parameters(), lr=task.lr)
    pairs: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for epoch in range(task.epochs):
        for number, batch in enumerate(selector.loader(drop_last=True)):
            if epoch in phases and number < batches:
                full = losses(model, forward, batch, sw.Scoring())
                by_rung = {
                    rung: losses(model, forward, batch, scoring, selector._step.scoring_forward)
                    for rung, scoring in task.rungs().items()
                }
                if second is not None:
                    by_rung["scorer"] = losses(second.model, forward, batch, sw.Scoring(), second)
                for rung, scored in by_rung.items():
                    pairs.setdefault(rung, {}).setdefault(phases[epoch], []).append(agreement(full, scored))
            optimizer.zero_grad()
            selector.loss(batch).backward()
            optimizer.step()
            if second is not None:
                second.came(batch, None, None)
    return {
        rung: {
            phase: [statistics.mean(each) for each in zip(*some, strict=True)] for phase, some in by.items()
        }
        for rung, by in pairs.items()
    }


def rankings(task: Task, batches: int, seeds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Mean and standard deviation of `ranking` over seeds."""
    runs = [ranking(task, batches, seed) for seed in range(seeds)]
    found: dict[str, dict[str, dict[str, float]]] = {}
    for rung, by_phase in runs[0].items():
        for phase in by_phase:
            row = found.setdefault(rung, {}).setdefault(phase, {})
            for place, what in enumerate(("spearman", "overlap")):
                values = [run[rung][phase][place] for run in runs]
                row[what] = round(statistics.mean(values), 3)
                if seeds > 1:
                    row[f"{what}_sd"] = round(statistics.stdev(values), 3)
    return found


def losses(
    model: nn.Module, forward: Forward, batch: sw.Batch, scoring: sw.Scoring, scores: Any = None
) -> Tensor:
    """What a rung gives for a batch. `scores`: the scoring forward of the training, if the rung needs it."""
    data = batch.data if scoring.view is None else scoring.view(batch.data)
    with without_trace(model, scoring):
        if scoring.at is None and not getattr(scores, "apart", False):
            return forward(data).float()
        return scores.run(forward, sw.Batch(batch.ids, data)).loss.float()


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
            cells = [
                " / ".join(number(row, what) for what in ("spearman", "overlap")) for row in phases.values()
            ]
            lines.append(f"| {name} | {rung} | {' | '.join(cells)} |")
    lines += ["", *best(found)]
    return "\n".join(lines)


def number(row: dict[str, float], what: str) -> str:
    """A mean, with the standard deviation over seeds if there are several."""
    return f"{row[what]:.2f}" + (f" ±{row[f'{what}_sd']:.2f}" if f"{what}_sd" in row else "")


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


def page(found: dict[str, Any]) -> str:
    """The tables, and how they were measured."""
    how = [
        f"- {name}: {about['cpu']}, {about['rounds']} rounds, {about['seeds']} seed(s)"
        for name, about in found["how"].items()
    ]
    head = "Measured by benchmarks/cheap_scores.py, one thread. ± is the standard deviation over seeds."
    return "\n".join([head, "", *how, "", table(found)]) + "\n"


def main() -> None:
    """Measure, print the tables and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round, few samples, no ResNet")
    parser.add_argument("--networks", nargs="+", help="of the table; default: those of digits and made texts")
    parser.add_argument("--data", type=Path, help="an .npz file of CIFAR-10")
    parser.add_argument("--glue", type=Path, help="a folder with sst2-train.parquet")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, help="a JSON file; the tables are written beside it")
    given = parser.parse_args()
    torch.set_num_threads(1)
    known = tasks(given)
    names = given.networks or (["cnn", "encoder"] if given.quick else ["resnet18", "encoder", "cnn"])
    if unknown := set(names) - set(known):
        parser.error(
            f"--networks must be of {', '.join(known)}, got {', '.join(unknown)} (see --data, --glue)"
        )
    found: dict[str, Any] = {"how": {}, "cost": {}, "ranking": {}}
    if given.out is not None and given.out.exists():
        found |= json.loads(given.out.read_text())
    rounds, seeds, batches = (1, 1, 1) if given.quick else (given.rounds, given.seeds, 8)
    for name in names:
        task = known[name]
        found["how"][name] = {"cpu": machine("cpu")["cpu"], "rounds": rounds, "seeds": seeds}
        if name != "cnn":
            found["cost"][name] = costs(task, rounds)
        found["ranking"][name] = rankings(task, batches, seeds)
        if given.out is not None:
            given.out.write_text(json.dumps(found, indent=1) + "\n")
            given.out.with_suffix(".md").write_text(page(found))
    print(table(found))


if __name__ == "__main__":
    main()
