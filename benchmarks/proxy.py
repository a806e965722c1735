"""Measure what a narrow view costs compared with the whole network: a training step and a pass, in turns.

    python benchmarks/proxy.py --out benchmarks/results/proxy.json

One thread. In every repeat each network does these one after the other on one batch: a plain step, a step
with the view, a pass and a narrow pass. Seconds are those of the thread; each share is from one repeat.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from overhead import machine

from samplewise import proxy
from samplewise.bench import models
from samplewise.bench.forward import last_layer

SIZES = {"mlp": 256, "cnn": 128, "mobilenet_v2": 32, "resnet18": 32}
SIDE, CLASSES, KEEP = 32, 10, 0.6


def measured(name: str, b: int, width: float, repeats: int) -> dict[str, Any]:
    """Medians over repeats of the time shares of the view, and its share of the FLOPs."""
    model = models.build(name, 3, CLASSES, SIDE, seed=0)
    head = last_layer(model, CLASSES)
    named = next(word for word, layer in model.named_modules() if layer is head)
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(b, 3, SIDE, SIDE, generator=rng), torch.randint(CLASSES, (b,), generator=rng)
    view = proxy.slim(model, width, head=named, example=x[:2])

    def step(along: bool) -> None:
        loss = F.cross_entropy(model(x), y)
        if along:
            loss = loss + F.cross_entropy(view(x), y)
        model.zero_grad()
        loss.backward()

    def look(net: Callable[..., Any]) -> None:
        model.eval()
        with torch.no_grad():
            net(x)
        model.train()

    work: list[Callable[[], None]] = [
        lambda: step(False),
        lambda: step(True),
        lambda: look(model),
        lambda: look(view),
    ]
    rows = []
    for repeat in range(repeats + 1):
        spent = []
        for do in work:
            begun = time.thread_time()
            do()
            spent.append(time.thread_time() - begun)
        if repeat:  # the first one warms up
            rows.append(spent)
    longer = sorted(both / alone - 1 for alone, both, _, _ in rows)
    cheaper = sorted(narrow / whole for _, _, whole, narrow in rows)
    forward = sorted(whole / alone for alone, _, whole, _ in rows)
    return {
        "model": name,
        "batch": b,
        "width": width,
        "repeats": repeats,
        "flops_share": view.flops_share,
        "step_share": [longer[0], median(longer), longer[-1]],
        "pass_share": [cheaper[0], median(cheaper), cheaper[-1]],
        "pass_of_step": median(forward),
        "milliseconds": [1000 * median(column) for column in zip(*rows, strict=True)],
    }


def longest(row: dict[str, Any]) -> tuple[float, float]:
    """The Q below which the view pays, by FLOPs and by these clocks, at a keep of 0.6."""
    s = row["flops_share"]
    by_flops = (1 - s) / (3 * s * KEEP)
    by_clock = row["pass_of_step"] * (1 - row["pass_share"][1]) / (row["step_share"][1] * KEEP)
    return by_flops, by_clock


def main() -> None:
    """Measure and write the numbers and a page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "proxy.json")
    parser.add_argument("--quick", action="store_true", help="few samples: it shows that the script works")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.quick:
        given.repeats = 1
    sizes = dict.fromkeys(SIZES, 2) if given.quick else SIZES
    rows = [measured(name, b, given.width, given.repeats) for name, b in sizes.items()]
    about = machine(1)
    given.out.write_text(json.dumps({"machine": about, "rows": rows}, indent=1) + "\n")
    lines = [
        "# What a narrow view costs",
        "",
        f"Width {given.width:g}, images of {SIDE} pixels, one thread of {about['cpu']}, torch "
        f"{about['torch']}; CPU seconds in turns, median (lowest to highest) of {given.repeats} repeats. "
        "Other work ran at the same time.",
        "",
        "| network | batch | narrow share of FLOPs | a step with the view takes more | a narrow pass takes, "
        f"of a pass | pays for Q below, by FLOPs | by these clocks (keep {KEEP:g}) |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        more, narrow = (
            f"{100 * middle:.0f} % ({100 * low:.0f} to {100 * high:.0f})"
            for low, middle, high in (row["step_share"], row["pass_share"])
        )
        by_flops, by_clock = longest(row)
        lines.append(
            f"| {row['model']} | {row['batch']} | {100 * row['flops_share']:.1f} % "
            f"| {more} | {narrow} | {by_flops:.1f} | {by_clock:.1f} |"
        )
    lines += ["", "Numbers: `proxy.json`; made with `python benchmarks/proxy.py`.", ""]
    given.out.with_suffix(".md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
