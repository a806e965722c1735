"""Measure what selection itself costs, compared with a bare loop and a plain vectorised reference.

    python benchmarks/overhead.py --out benchmarks/results/overhead.json

It takes about five minutes. One thread by default. Medians over repeats; the spread is the 10th to 90th
percentile. `--quick` runs every row with few samples and repeats, to see that the script works. Its numbers
say nothing.
"""

import argparse
import itertools
import json
import math
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

import samplewise as sw
from samplewise.pickers import ranking
from samplewise.rng import generator
from samplewise.testing.trace import build

Row = dict[str, Any]
GREEDY = 10_000
"""Number of samples from which recipes that read features are left out: their choices take minutes."""


def timed(run: Callable[[], Any], repeats: int, inner: int = 1) -> list[float]:
    """CPU seconds of one call on this thread, `repeats` times, each the mean of `inner` calls.

    The clock is that of the thread. Other work on the machine hardly changes it.
    """
    run()
    seconds = []
    for _ in range(repeats):
        begun = time.thread_time()
        for _ in range(inner):
            run()
        seconds.append((time.thread_time() - begun) / inner)
    return seconds


def row(what: str, seconds: list[float], unit: str, target: float | None = None, **more: Any) -> Row:
    """One line of the result: median and spread in `unit`."""
    scale = {"us": 1e6, "ms": 1e3, "s": 1.0}[unit]
    deciles = statistics.quantiles(seconds, n=10) if len(seconds) > 1 else seconds
    value = statistics.median(seconds) * scale
    found: Row = {"what": what, "median": value, "p10": deciles[0] * scale, "p90": deciles[-1] * scale}
    found |= {"unit": unit, "target": target, "repeats": len(seconds)} | more
    if target is not None:
        found["met"] = value <= target
    return found


def outputs_of(b: int, classes: int = 10) -> sw.Outputs:
    """A random forward pass of a classifier."""
    logits = torch.randn(b, classes)
    targets = torch.randint(classes, (b,))
    losses = F.cross_entropy(logits, targets, reduction="none")
    head = torch.eye(classes), torch.zeros(classes)
    return sw.Outputs(losses, logits, targets, features=logits, head=head, target_product=logits[:, 0])


def fed(name: str, n: int, epochs: int = 10, **given: Any) -> sw.Selector:
    """A selector for epoch 1: every sample was observed in epoch 0, and epoch 0 is closed."""
    torch.manual_seed(0)
    labels = torch.randint(10, (n,))
    policy = build(sw.recipes.get(name), n, period=1)
    selector = sw.Selector(policy, n, epochs=epochs, labels=labels, **given)
    for ids in selector.pass_ids(0).split(1024):
        selector.observe(ids, outputs_of(len(ids)), "pass")
    selector.plan(0)
    for ids in torch.arange(n).split(1024):
        selector.observe(ids, outputs_of(len(ids)))
    selector.timeline.end_epoch()
    for ids in selector.pass_ids(1).split(1024):
        selector.observe(ids, outputs_of(len(ids)), "pass")
    return selector


def reads_features(name: str, n: int) -> bool:
    """Whether the recipe called `name` reads the features of samples."""
    return "features" in getattr(build(sw.recipes.get(name), n), "needs", ())


def of_level(*levels: str, n: int) -> list[str]:
    """The names of all recipes of these levels; without those whose choices take minutes."""
    names = [name for name, recipe in sorted(sw.recipes.all().items()) if recipe.level in levels]
    return [name for name in names if n < GREEDY or not reads_features(name, n)]


def per_step(b: int = 256, n: int = 50_000, repeats: int = 60, inner: int = 200) -> list[Row]:
    """Epoch level: what `selector.loss` adds to `forward(batch).mean()`."""
    rows = []
    given = outputs_of(b)
    losses = given.loss.clone().requires_grad_()
    for name in ("full", "infobatch", "kakurenbo"):
        returned = losses if name != "kakurenbo" else sw.Outputs(losses, given.logits, given.targets)
        selector = fed(name, n, forward=lambda _, kept=returned: kept, batch_size=b)
        # Many batches: a batch that comes again soon would be the same step.
        many = selector.plan(1).ids[torch.randperm(n // 2)].split(b)[:100]
        many = [ids for ids in many if len(ids) == b]
        batches = itertools.cycle([sw.Batch(ids, None) for ids in many])
        bare = losses if isinstance(returned, Tensor) else returned.loss
        plain: list[float] = []
        ours: list[float] = []
        for _ in range(repeats):  # in turns, so that both have the same load on the machine
            plain += timed(lambda bare=bare: bare.mean(), 1, inner)
            ours += timed(lambda s=selector, x=batches: s.loss(next(x)), 1, inner)
        added = [mine - statistics.median(plain) for mine in ours]
        bare_us = statistics.median(plain) * 1e6
        target = 17.0 if name != "kakurenbo" else None
        rows.append(row(f"step, {name}: added to loss.mean(), b = {b}", added, "us", target, bare_us=bare_us))
    return rows


def choosing(b: int = 256, n: int = 50_000, repeats: int = 60, inner: int = 100) -> list[Row]:
    """Batch level: `choose` of 64 rows from 256, or of as many as the method takes without `keep`."""
    rows = []
    weights = torch.rand(b)

    def reference() -> Tensor:
        return torch.multinomial(weights, b // 4, replacement=False).sort().values

    reference_seconds = timed(reference, repeats, inner)
    rows.append(row("choose, reference: torch.multinomial + sort", reference_seconds, "us"))
    for name in of_level("batch", n=n):
        recipe = sw.recipes.get(name)
        selector = sw.Selector(build(recipe, n, keep=0.25), n, epochs=40)
        shown, ids = outputs_of(b), torch.randperm(n)[:b]
        for epoch in range(3):
            selector.plan(epoch)
            selector.observe(ids, shown)
        seconds = timed(lambda e=selector.engine, i=ids: e.choose(i), repeats, inner)
        kept = f"B = {b} -> {b // 4}" if "keep" in recipe.signature.parameters else f"B = {b}"
        rows.append(row(f"choose, {name}, {kept}", seconds, "us", 60.0))
    return rows


def planning(n: int, target: float, repeats: int) -> list[Row]:
    """The plan of an epoch and its shuffle."""
    scores = torch.rand(n)

    def reference() -> Tensor:
        k = ranking.budget(n, 0.5)
        threshold = scores.kthvalue(n - k + 1).values
        chosen = (scores >= threshold).nonzero().squeeze(1)
        return chosen[torch.randperm(len(chosen))]

    rows = [row(f"plan, reference: kthvalue + randperm, n = {n:,}", timed(reference, repeats), "ms")]
    for name in of_level("epoch", "epoch+batch", n=n):
        selector = fed(name, n)
        engine, state = selector.engine, selector.engine.state_dict()

        def plan(selector: sw.Selector = selector) -> None:
            selector.engine.plan(1)
            selector.timeline.order()

        seconds = []
        for _ in range(repeats + 1):
            engine.load_state_dict(state)
            begun = time.thread_time()
            plan()
            seconds.append(time.thread_time() - begun)
        rows.append(row(f"plan + shuffle, {name}, n = {n:,}", seconds[1:], "ms", target))
    return rows


def memory(n: int = 50_000) -> list[Row]:
    """The bytes of the scores per sample, and of the plan per kept sample."""
    rows = []
    # Static methods may remember vectors, whose width is the model's.
    for name in of_level("epoch", "epoch+batch", "batch", n=n):
        engine = fed(name, n).engine
        columns = [c for c in engine.memory.columns.values() if c.ndim and len(c) == n]
        scores = sum(c.element_size() * math.prod(c.shape[1:]) for c in columns)
        plan = engine.plan(1)
        weighted = 0 if plan.weights is None else plan.weights.element_size()
        rows.append(
            {
                "what": f"memory, {name}",
                "score_bytes_per_sample": scores,
                "plan_bytes_per_kept_sample": plan.ids.element_size() + weighted,
                "times_selected_bytes_per_sample": engine.times_selected.element_size(),
                "weights_bytes_per_sample": 0 if plan.weights is None else plan.weights.element_size(),
                "target": 12,
                "met": scores <= 12,
            }
        )
    return rows


def beyond_multinomial(m: int = (1 << 24) + 1) -> list[Row]:
    """A weighted draw without replacement, by default from more samples than torch.multinomial accepts."""
    weights = torch.rand(m)
    begun = time.perf_counter()
    chosen = ranking.race(weights, m // 2, generator(0, "benchmark"))
    seconds = time.perf_counter() - begun
    unique = int(chosen.diff().min()) > 0
    return [
        {
            "what": f"weighted draw of half, n = {m:,} (torch.multinomial ends at 2^24)",
            "seconds": seconds,
            "rows": len(chosen),
            "met": unique and len(chosen) == m // 2,
            "peak_rss_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20),
        }
    ]


class Training:
    """A training, one batch at a time, so that two can run in turns on a machine that changes speed."""

    def __init__(self, name: str, data: TensorDataset, epochs: int) -> None:
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(4),
            nn.Flatten(), nn.Linear(64 * 16, 10),
        )  # fmt: skip

        def forward(batch: Any) -> Tensor:
            inputs, targets = batch
            return F.cross_entropy(model(inputs), targets, reduction="none")

        self.optimizer = torch.optim.SGD(model.parameters(), 0.01)
        self.selector = sw.Selector(name, data, forward, model=model, epochs=epochs, batch_size=128)
        self.loader, self.seconds = self.selector.loader(), 0.0

    def epoch(self) -> Iterator[None]:
        """Train for an epoch, pausing after every batch."""
        begun = time.perf_counter()
        for batch in self.loader:
            loss = self.selector.loss(batch)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.seconds += time.perf_counter() - begun
            yield
            begun = time.perf_counter()
        self.seconds += time.perf_counter() - begun


def saved(epochs: int, repeats: int, threads: int, n: int = 512) -> list[Row]:
    """Wall clock saved over cost saved when the model takes most of the time, in turns with `full`."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(n, 3, 32, 32), torch.randint(10, (n,)))
    rows: list[Row] = []
    for name in ("infobatch", "evolved_sampling", "random_batch"):
        walls = []
        for _ in range(repeats):
            ordinary, selected = Training("full", data, epochs), Training(name, data, epochs)
            for _ in range(epochs):
                for _ in itertools.zip_longest(ordinary.epoch(), selected.epoch()):
                    pass
            walls.append(1 - selected.seconds / ordinary.seconds)
        promised = selected.selector.ledger.promised
        ratios = [wall / promised for wall in walls]
        value = statistics.median(ratios)
        found: Row = {"what": f"wall clock saved / cost saved, {name}", "median": value}
        found |= {"min": min(ratios), "max": max(ratios), "repeats": repeats, "cost_saved": promised}
        found |= {"wall_saved": statistics.median(walls), "threads": threads, "target": 0.95}
        rows.append(found | {"met": value >= 0.95})
    return rows


def machine(threads: int) -> Row:
    """The machine and the versions that the numbers come from."""
    names = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "load_at_start": os.getloadavg()[0],
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def show(found: Row) -> str:
    """One printed line."""
    met = {True: "met", False: "MISSED", None: ""}[found.get("met")]
    if "unit" in found:
        target = "" if found["target"] is None else f"<= {found['target']:g}"
        spread = f"({found['p10']:.3g} - {found['p90']:.3g})"
        return f"{found['what']:<62} {found['median']:>9.3g} {found['unit']} {spread:<18} {target:<8} {met}"
    rest = {k: v for k, v in found.items() if k not in ("what", "met")}
    said = ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in rest.items())
    return f"{found['what']:<62} {said} {met}"


def markdown(about: Row, rows: list[Row]) -> str:
    """The results as a page."""
    lines = [
        "# What selection itself costs",
        "",
        f"{about['cpu']}, {about['cores']} cores, {about['threads']} thread (training rows: all cores), "
        f"torch {about['torch']}, numpy {about['numpy']}, Python {about['python']}; load at the start "
        f"{about['load_at_start']:.1f}. CPU time of the thread: median (10th to 90th percentile). Made with "
        "`python benchmarks/overhead.py --out benchmarks/results/overhead.json`; a step is what "
        "`selector.loss` adds to the bare `forward(batch).mean()` of the same run. The machine is a shared "
        "virtual one that runs at two speeds about 1.5 apart: compare a row with the reference of its block.",
        "",
        "| what | median | spread | target | |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for found in rows:
        met = {True: "met", False: "missed", None: ""}[found.get("met")]
        if "unit" in found:
            unit, target = found["unit"], found["target"]
            spread = f"{found['p10']:.3g} - {found['p90']:.3g}"
            wanted = "" if target is None else f"<= {target:g} {unit}"
            lines.append(f"| {found['what']} | {found['median']:.3g} {unit} | {spread} | {wanted} | {met} |")
        elif "median" in found:
            spread = f"{found['min']:.2f} - {found['max']:.2f}"
            what = f"{found['what']} ({found['wall_saved']:.1%} / {found['cost_saved']:.1%})"
            lines.append(f"| {what} | {found['median']:.2f} | {spread} | >= {found['target']} | {met} |")
        elif "seconds" in found:
            lines.append(f"| {found['what']} | {found['seconds']:.2f} s | one run | works | {met} |")
        else:
            size = f"{found['score_bytes_per_sample']} bytes a sample"
            plan = f"plan {found['plan_bytes_per_kept_sample']} a kept sample, "
            plan += f"counts {found['times_selected_bytes_per_sample']}, weights "
            plan += f"{found['weights_bytes_per_sample']} a sample"
            lines.append(f"| {found['what']} | {size} | {plan} | <= {found['target']} bytes | {met} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure all rows, print them, and write them as JSON and as a page next to it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument(
        "--threads", type=int, default=1, help="threads, except for the training rows, which use every core"
    )
    parser.add_argument("--quick", action="store_true", help="few samples and repeats: see above")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    about = machine(args.threads)
    cores = math.floor(os.cpu_count() or 1)
    if args.quick:
        rows = per_step(16, 256, 2, 2) + choosing(16, 256, 2, 2) + planning(256, 1.5, 1) + memory(256)
        rows += beyond_multinomial(1 << 12) + saved(3, 1, args.threads, n=16)
    else:
        rows = per_step() + choosing() + planning(50_000, 1.5, 60) + planning(1_281_167, 160.0, 9)
        rows += memory() + beyond_multinomial() + saved(4, 4, cores)
    print("\n".join(map(show, rows)))
    if args.out:
        args.out.write_text(json.dumps({"machine": about, "rows": rows}, indent=1) + "\n")
        args.out.with_suffix(".md").write_text(markdown(about, rows))


if __name__ == "__main__":
    main()
