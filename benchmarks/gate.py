"""Time trainings with a gate against ordinary training, for every method that chooses inside batches.

    python benchmarks/gate.py [--out benchmarks/results/gate.json]

One process, one thread, random data with labels of a linear teacher. Ordinary training is `full` in the same
loop. In a repeat every method trains once with a gate, and `full` trains before the first method, after every
fourth one and after the last one. A ratio is the CPU time of a training over the mean of the two trainings of
`full` around it. The table gives the median of the repeats and their range; without a gate, of one repeat.
"""

import argparse
import gc
import json
import platform
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

import samplewise as sw
from samplewise.recipes import all as all_recipes
from samplewise.testing.counting import with_target

BATCH, INPUTS, CLASSES = 64, 64, 10
TOGETHER = 4
"""Methods between two trainings of `full`."""


def linear() -> nn.Sequential:
    """The smallest model: 650 numbers."""
    return nn.Sequential(nn.Linear(INPUTS, CLASSES))


def perceptron() -> nn.Sequential:
    """Two hidden layers of 512."""
    return nn.Sequential(
        nn.Linear(INPUTS, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, CLASSES)
    )


def convolutions() -> nn.Sequential:
    """Three convolutions with batch norm on 8 x 8 pixels."""
    layers: list[nn.Module] = [nn.Unflatten(1, (1, 8, 8))]
    for before, after in ((1, 16), (16, 32), (32, 32)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, CLASSES))


MODELS = {"linear": (linear, 3000), "perceptron": (perceptron, 700), "convolutions": (convolutions, 200)}
"""Each with the steps of a training."""


def methods(n: int) -> dict[str, Any]:
    """A policy of every method that chooses inside batches, with keep 1/2 where it has a `keep`."""
    found = {}
    for name, recipe in all_recipes().items():
        if "batch" in recipe.level:
            given: dict[str, Any] = {"keep": 0.5} if "keep" in recipe.signature.parameters else {}
            found[name] = recipe(**given) if recipe.toy is None else recipe.toy(n)
    return found


class Setting:
    """A model, its data and the length of its training."""

    def __init__(self, name: str, epochs: int, steps: int) -> None:
        self.build, self.epochs = MODELS[name][0], epochs
        self.steps = steps // epochs * epochs
        n = steps // epochs * BATCH
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(n, INPUTS, generator=generator)
        teacher = torch.randn(INPUTS, CLASSES, generator=generator)
        noise = 4 * torch.randn(n, CLASSES, generator=generator)
        self.data = torch.utils.data.TensorDataset(self.x, (self.x @ teacher + noise).argmax(1))

    def trained(self, policy: Any, gate: bool) -> tuple[float, sw.Selector]:
        """CPU seconds of a training, and its selector."""
        torch.manual_seed(0)
        model = self.build()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02)

        forward = sw.classifier(model, head=str(len(model) - 1))
        gc.collect()
        begun = time.process_time()
        selector = sw.Selector(
            policy, self.data, forward, model=model, epochs=self.epochs, batch_size=BATCH, gate=gate,
            scoring=with_target(policy, None, self.data),
        )  # fmt: skip
        loader = selector.loader()
        for _ in range(self.epochs):
            for batch in loader:
                loss = selector.loss(batch)
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
        return time.process_time() - begun, selector

    def bare(self) -> float:
        """CPU seconds of a loop of plain torch."""
        torch.manual_seed(0)
        model = self.build()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
        gc.collect()
        begun = time.process_time()
        loader = torch.utils.data.DataLoader(self.data, BATCH, shuffle=True)
        for _ in range(self.epochs):
            for x, y in loader:
                loss = nn.functional.cross_entropy(model(x), y)
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
        return time.process_time() - begun


def summary(values: list[float]) -> dict[str, float]:
    """Median and range."""
    return {
        "median": round(statistics.median(values), 4),
        "low": round(min(values), 4),
        "high": round(max(values), 4),
    }


def measured(name: str, epochs: int, steps: int, repeats: int) -> dict[str, Any]:
    """Every method's ratios to `full` with one model, and what its gate decided."""
    setting = Setting(name, epochs, steps)
    policies = methods(len(setting.data))
    setting.trained("full", False)  # first use
    rows: dict[str, dict[str, list[Any]]] = {
        method: {"gate": [], "without": [], "decisions": [], "plain": []} for method in policies
    }
    bare, full, names = [], [], list(policies)
    for repeat in range(repeats):
        before, _ = setting.trained("full", False)
        bare.append(before / setting.bare())
        for start in range(0, len(names), TOGETHER):
            times: dict[tuple[str, str], float] = {}
            for method in names[start : start + TOGETHER]:
                row, policy = rows[method], policies[method]
                times[method, "gate"], selector = setting.trained(policy, True)
                row["decisions"].append([dict(one) for one in selector.ledger.decisions])
                row["plain"].append(selector.ledger.plain_steps)
                if not repeat:
                    times[method, "without"], _ = setting.trained(policy, False)
            after, _ = setting.trained("full", False)
            for (method, kind), seconds in times.items():
                rows[method][kind].append(2 * seconds / (before + after))
            full.append(before)
            before = after
    return {
        "steps": setting.steps,
        "seconds_of_full": summary(full),
        "full_over_plain_torch": summary(bare),
        "methods": {
            method: {
                "gate": summary(row["gate"]),
                "without": summary(row["without"]),
                "ended": sum(not told[-1]["selects"] for told in row["decisions"] if told),
                "pays": sum(bool(told[-1]["pays"]) for told in row["decisions"] if told),
                "plain_steps": summary(row["plain"]),
                "decisions": row["decisions"],
            }
            for method, row in rows.items()
        },
    }


def table(found: dict[str, Any], repeats: int) -> str:
    """The results as Markdown."""
    lines = []
    for name, model in found.items():
        seconds, bare = model["seconds_of_full"]["median"], model["full_over_plain_torch"]["median"]
        lines += [
            f"## {name}: {model['steps']} steps, {seconds:.2f} s of ordinary training",
            "",
            f"Ordinary training is `full` in the same loop; it takes {bare:.2f} of a loop of plain torch.",
            "",
            "| method | with a gate | without | ended | pays | plain steps |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for method, row in model["methods"].items():
            gate, without = row["gate"], row["without"]["median"]
            plain = f"{row['plain_steps']['median']:.0f}"
            ratio = f"{gate['median']:.3f} ({gate['low']:.3f} to {gate['high']:.3f})"
            ends = f"{row['ended']} | {row['pays']}"
            lines.append(f"| {method} | {ratio} | {without:.2f} | {ends} | {plain} |")
        lines.append("")
    misses = [
        f"{method} with {name}, {row['gate']['median']:.3f}"
        for name, model in found.items()
        for method, row in model["methods"].items()
        if row["gate"]["median"] > 1.03
    ]
    lines.append(f"Above 1.03 of ordinary training in the median: {'; '.join(misses) or 'none'}.")
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--quick", action="store_true", help="one short repeat with the smallest model")
    parser.add_argument("--out", type=Path, help="a JSON file; a table is written beside it")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # each gate that acts says so
    repeats = 1 if given.quick else given.repeats
    found = {}
    for name in ["linear"] if given.quick else given.models:
        epochs, steps = (10, 100) if given.quick else (10, MODELS[name][1])
        found[name] = measured(name, epochs, steps, repeats)
    text = table(found, repeats)
    print(text)
    if given.out is not None:
        about = {"repeats": repeats, "torch": torch.__version__, "machine": platform.machine()}
        given.out.write_text(json.dumps(about | {"models": found}, indent=1) + "\n")
        head = (
            "Trainings with a gate against ordinary training, by benchmarks/gate.py: CPU time, one thread, "
            f"median of {repeats} repeats in turns (range). `ended`, `pays`: in how many of them."
        )
        given.out.with_suffix(".md").write_text(f"# The gate\n\n{head}\n\n{text}\n")


if __name__ == "__main__":
    main()
