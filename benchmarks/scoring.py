"""Time the bookkeeping around a scoring forward of two checkouts, in turns.

    python benchmarks/scoring.py OTHER_CHECKOUT [--rounds 8] [--out benchmarks/results/scoring.json]

Each round starts one process for each checkout, with its `src` on the path. A process enters and leaves
`without_trace` around nothing, and takes the CPU time of its thread. The models are built here, with the
modules of the networks that they are named after, in small: the time depends on the number of modules, not
on their sizes. The table gives the median of the rounds, and their 10th to 90th percentile.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from itertools import chain
from operator import attrgetter, is_
from pathlib import Path
from typing import Any

FORMS = {"ResNet-18": ((2, 2, 2, 2), 2), "ResNet-50": ((3, 4, 6, 3), 3)}
REPEATS = 300


def network(name: str) -> Any:
    """A residual network with the modules of torchvision's, each as small as possible."""
    from torch import nn

    class Block(nn.Module):
        def __init__(self, convolutions: int, first: bool) -> None:
            super().__init__()
            for number in range(convolutions):
                self.add_module(f"conv{number}", nn.Conv2d(1, 1, 3))
                self.add_module(f"bn{number}", nn.BatchNorm2d(1))
            self.relu = nn.ReLU()
            self.downsample = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)) if first else None

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            depths, convolutions = FORMS[name]
            self.conv1, self.bn1, self.relu = nn.Conv2d(3, 1, 7), nn.BatchNorm2d(1), nn.ReLU()
            self.maxpool = nn.MaxPool2d(3)
            for stage, depth in enumerate(depths, 1):
                first = stage > 1 or convolutions == 3
                blocks = [Block(convolutions, first and not place) for place in range(depth)]
                self.add_module(f"layer{stage}", nn.Sequential(*blocks))
            self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(1, 10)

    return Net()


PARTS = ("around a scoring forward", "finding all modules", "checking a kept list")


def measured(repeats: int) -> dict[str, dict[str, float]]:
    """Microseconds of each part, for each network: the median of `repeats`."""
    import torch

    import samplewise as sw
    from samplewise.loop import scoring as bookkeeping

    # Earlier checkouts do not have it.
    modules_of = getattr(bookkeeping, "modules_of", lambda model: list(model.modules()))
    without_trace = bookkeeping.without_trace
    torch.set_num_threads(1)
    found, scoring = {}, sw.Scoring()
    for name in FORMS:
        model = network(name)
        kept = modules_of(model)
        children = list(_children(kept))
        works = (
            lambda model=model: _around(without_trace(model, scoring)),
            lambda model=model: modules_of(model),
            lambda kept=kept, children=children: _still(kept, children),
        )
        seconds: list[list[float]] = [[], [], []]
        for _ in range(repeats):
            for work, spent in zip(works, seconds, strict=True):
                begun = time.thread_time()
                work()
                spent.append(time.thread_time() - begun)
        found[name] = {
            part: 1e6 * statistics.median(spent) for part, spent in zip(PARTS, seconds, strict=True)
        }
    return found


def _around(block: Any) -> None:
    with block:
        pass


def _children(modules: list[Any]) -> Any:
    return chain.from_iterable(map(dict.values, map(attrgetter("_modules"), modules)))


def _still(kept: list[Any], children: list[Any]) -> bool:
    now = list(_children(kept))
    return len(now) == len(children) and all(map(is_, now, children))


def of_checkout(checkout: Path, repeats: int) -> dict[str, dict[str, float]]:
    """What a process with this checkout measures."""
    env = os.environ | {"PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--measure", str(repeats)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def summary(values: list[float]) -> dict[str, float]:
    """Median and 10th to 90th percentile, in microseconds."""
    ordered = sorted(values)
    last = len(ordered) - 1
    low, high = ordered[round(0.1 * last)], ordered[round(0.9 * last)]
    return {"median": round(statistics.median(values), 1), "low": round(low, 1), "high": round(high, 1)}


def main() -> None:
    """Time both checkouts, print a table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("other", nargs="?", type=Path, help="another checkout; this one alone if left out")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--quick", action="store_true", help="one round of few repeats")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="a JSON file; a table is written beside it")
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measured(given.measure)))
        return
    checkouts = {"this checkout": Path(__file__).resolve().parents[1]}
    if given.other is not None:
        checkouts = {"the other checkout": given.other} | checkouts
    rounds = {checkout: [] for checkout in checkouts}
    for _ in range(1 if given.quick else given.rounds):
        for checkout, path in checkouts.items():
            rounds[checkout].append(of_checkout(path, 20 if given.quick else REPEATS))
    found = {
        checkout: {name: summary([each[name][PARTS[0]] for each in runs]) for name in FORMS}
        for checkout, runs in rounds.items()
    }
    parts = {
        part: {name: summary([each[name][part] for each in rounds["this checkout"]]) for name in FORMS}
        for part in PARTS[1:]
    }
    table = "\n\n".join([_table(found), _table(parts)])
    print(table)
    if given.out is not None:
        shown = {"cpu": _cpu(), "rounds": len(rounds["this checkout"]), "found": found, "parts": parts}
        given.out.write_text(json.dumps(shown, indent=1) + "\n")
        head = "Around a scoring forward, by benchmarks/scoring.py: median of the rounds (10th to 90th"
        given.out.with_suffix(".md").write_text(f"{head} percentile). {shown['cpu']}.\n\n{table}\n")


def _table(found: dict[str, dict[str, dict[str, float]]]) -> str:
    lines = ["| microseconds | " + " | ".join(FORMS) + " |", "| --- |" + " --- |" * len(FORMS)]
    for what, by_name in found.items():
        cells = [f"{row['median']:.0f} ({row['low']:.0f} to {row['high']:.0f})" for row in by_name.values()]
        lines.append(f"| {what} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cpu() -> str:
    from samplewise.bench.machine import machine

    return str(machine("cpu")["cpu"])


if __name__ == "__main__":
    main()
