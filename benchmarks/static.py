"""Measure what static scores cost: recording a step, making the scores, choosing; and the memory.

    python benchmarks/static.py --out benchmarks/results/static.json

One thread. Times are CPU seconds of the thread, medians over repeats, with a spread from the 10th to the
90th percentile. Each memory row runs in its own process: its peak minus the peak just before. `--quick` makes
every row with few samples, in one process, and takes the peak of every static method that records losses and
logits. Its numbers say nothing.
"""

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from overhead import Row, machine, row, show, timed

import samplewise as sw
from samplewise import pickers, signals, trackers
from samplewise.engine.engine import Engine
from samplewise.pickers import Picker, Pool
from samplewise.rng import generator
from samplewise.testing.trace import build

SMALL, LARGE, CLASSES = 50_000, 1_281_167, 10
SEVEN = ("el2n", "aum", "forgetting", "dyn_unc", "tdds", "ccs", "svp")


def batch_of(b: int) -> sw.Outputs:
    """What a forward over b samples shows."""
    rng = generator("static benchmark", b)
    logits = torch.randn(b, CLASSES, generator=rng)
    return sw.Outputs(torch.rand(b, generator=rng), logits, torch.arange(b) % CLASSES)


def engine(policy: Any, n: int, epochs: int = 20) -> Engine:
    """An engine with its first epoch open."""
    selector = sw.Selector(policy, n, epochs=epochs)
    selector.plan(0)
    return selector.engine


def recording(b: int = 256, n: int = SMALL, epochs: int = 6) -> list[Row]:
    """The copies of a step, and separately the cost of measuring a full buffer every 32 steps."""
    rows = []
    for name, policy in {"full": "full", "el2n": "el2n", "seven methods": sw.Recorder(SEVEN)}.items():
        made: Any = engine(policy, n)
        steps, measured = [], []
        for epoch in range(epochs):
            made.plan(epoch)
            batches = torch.randperm(n, generator=generator("static benchmark", epoch)).split(b)
            for number, ids in enumerate(batches, start=1):
                shown = batch_of(len(ids))
                begun = time.thread_time()
                made.memory.observe(ids, shown, "training")
                steps.append(time.thread_time() - begun)
                if number % 32 == 0 and name != "full":
                    begun = time.thread_time()
                    made.memory.flush()
                    measured.append(time.thread_time() - begun)
            made.close()
        # The first epoch allocates. In this measurement no flush is inside a step.
        steps, measured = steps[len(steps) // epochs :], measured[len(measured) // epochs :]
        if name == "full":
            rows.append(row("a step that records nothing: the checks of full", steps, "us"))
            continue
        rows.append(row(f"record a step, {name}: ids, labels, logits", steps, "us", 30.0))
        rows.append(row(f"measure 8,192 recorded rows, {name}", measured, "ms"))
    return rows


def tdds(n: int, target: float | None) -> Row:
    """Computes the scores of TDDS from ten epochs of probabilities (T = 10, K = 5)."""
    ids, rng = torch.arange(n), generator("tdds", n)
    epochs = [torch.randn(n, CLASSES, generator=rng).softmax(1) for _ in range(10)]
    made: Any = sw.recipes.tdds(0.1, T=10, window=5).tracker
    tracker = made.within(10)
    signal = sw.recipes.tdds(0.1, T=10, window=5).signals[0].__name__

    def score() -> None:
        state = tracker.start(n, {signal: epochs[0][:1]})
        for shown in epochs:
            for part in ids.split(8192):
                tracker.observe(state, part, {signal: shown[part[0] : part[-1] + 1]})
            tracker.close(state)
        tracker.finish(state)

    return row(f"tdds, 10 epochs x 10 classes, n = {n:,}", timed(score, 5), "s", target)


def recorded() -> list[str]:
    """Every static recipe whose score needs no more than losses, logits and targets of a training."""
    found = []
    for name, recipe in sorted(sw.recipes.all().items()):
        if recipe.level != "static":
            continue
        policy = build(recipe, 16)
        if policy.source == "training" and {*policy.needs} <= {"loss", "logits", "targets"}:
            found.append(name)
    return found


def choosing(n: int, ccs_target: float | None) -> list[Row]:
    """The strata of CCS, the block of moderate, the top of el2n, at keep 0.1."""
    scores = torch.randn(n, generator=generator("scores", n))

    def pick(picker: Picker, column: str) -> Callable[[], Any]:
        values = {column: scores}
        return lambda: picker.pick(Pool(n, generator(0, "subset"), values, column))

    return [
        row(
            f"ccs: 50 strata, keep 0.1, n = {n:,}",
            timed(pick(pickers.Strata(0.1), "mean"), 9),
            "s",
            ccs_target,
        ),
        row(
            f"moderate: block by rank, keep 0.1, n = {n:,}",
            timed(pick(pickers.MedianBlock(0.1), "distance"), 9),
            "s",
        ),
        row(f"el2n: top-k, keep 0.1, n = {n:,}", timed(pick(pickers.TopK(0.1), "mean"), 9), "s"),
    ]


def distances(n: int = SMALL, d: int = 512) -> Row:
    """Moderate's distances to the class medians."""
    features = torch.randn(n, d, generator=generator("features", n))
    target = (torch.arange(n) % CLASSES).int()

    def score() -> None:
        tracker = trackers.ClassDistance()
        state = tracker.start(n, {"features": features[:1], "target": target[:1]})
        tracker.observe(state, torch.arange(n), {"features": features, "target": target})
        tracker.finish(state)

    return row(f"moderate: distances to the class medians, n = {n:,}, d = {d}", timed(score, 3), "s")


def high_water(reset: bool = False) -> float:
    """The most memory this process ever used, in MB. `reset` starts again from the current use (Linux)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    (line,) = (text for text in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in text)
    return int(line.split()[1]) / 1024


VECTORS = {
    "herding": pickers.Herding,
    "craig": pickers.FacilityLocation,
    "gradmatch": pickers.MatchingPursuit,
}


def vectors(name: str, keep: float, n: int = SMALL, d: int = 512) -> Row:
    """One greedy choice with its weights, by class."""
    rng = generator("vectors", n)
    target = torch.arange(n) % CLASSES
    logits = torch.randn(n, CLASSES, generator=rng)
    values = {
        "residual": signals.residual(logits, target),
        "features": torch.randn(n, d, generator=rng).relu_(),
        "target": target.int(),
    }
    picker = VECTORS[name](keep)
    before = high_water(reset=True)
    begun = time.thread_time()
    picker.pick(Pool(n, generator(0, "subset"), values, "order"))
    found = row(f"{name}, keep {keep:g}, n = {n:,}, d = {d}", [time.thread_time() - begun], "s")
    return found | {"peak_mb": high_water() - before}


def peak(name: str, n: int) -> Row:
    """The memory that scoring adds at its peak: the recording of some epochs, and the choice."""
    made: Any = engine(name, n, epochs=4)
    shown = batch_of(8192)
    before = high_water(reset=True)
    for epoch in range(4):
        if epoch:
            made.plan(epoch)
        for ids in torch.arange(n).split(8192):
            made.memory.observe(
                ids,
                sw.Outputs(shown.loss[: len(ids)], shown.logits[: len(ids)], shown.targets[: len(ids)]),
                "training",
            )
    made.close()
    made.subset(None, keep=0.1)
    what = f"{name}: peak over 4 epochs and a choice, n = {n:,}"
    return {"what": what, "peak_mb": high_water() - before}


def alone(function: Callable[..., Row], *given: Any) -> Row:
    """A row measured in its own process."""
    with multiprocessing.get_context("spawn").Pool(
        1, initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        return pool.apply(function, given)


def markdown(about: Row, rows: list[Row]) -> str:
    """The results as a page."""
    lines = [
        "# What static scores cost",
        "",
        f"{about['cpu']}, {about['cores']} cores, {about['threads']} thread, torch {about['torch']}, numpy "
        f"{about['numpy']}, Python {about['python']}; load at the start {about['load_at_start']:.1f}. CPU "
        "time of the thread: median (10th to 90th percentile). Memory: the peak of a separate process, "
        "minus its memory before. Made with `python benchmarks/static.py --out "
        "benchmarks/results/static.json`. The machine is "
        "a shared virtual one that runs at two speeds about 1.5 apart.",
        "",
        "| what | median | spread | target | | peak |",
        "| --- | ---: | ---: | ---: | --- | ---: |",
    ]
    for found in rows:
        peaked = f"{found['peak_mb']:,.0f} MB" if "peak_mb" in found else ""
        if "unit" not in found:
            lines.append(f"| {found['what']} | | | | | {peaked} |")
            continue
        unit, target = found["unit"], found["target"]
        wanted = "" if target is None else f"<= {target:g} {unit}"
        met = {True: "met", False: "missed", None: ""}[found.get("met")]
        spread = f"{found['p10']:.3g} - {found['p90']:.3g}"
        lines.append(
            f"| {found['what']} | {found['median']:.3g} {unit} | {spread} | {wanted} | {met} | {peaked} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure all rows, print them, and write them as JSON and as a page next to it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--quick", action="store_true", help="few samples, in one process")
    args = parser.parse_args()
    torch.set_num_threads(1)
    about = machine(1)
    if args.quick:
        rows = [*recording(4, 128, 2), tdds(200, 0.5), *choosing(500, None)]
        rows += [tdds(400, None), *choosing(1000, 0.1), distances(200, 8)]
        rows += [vectors(name, keep, 100, 8) for name in VECTORS for keep in (0.1, 0.3)]
        rows += [peak(name, n) for name in recorded() for n in (200, 400)]
    else:
        rows = [*recording(), tdds(SMALL, 0.5), *choosing(SMALL, None)]
        rows += [tdds(LARGE, None), *choosing(LARGE, 0.1), distances()]
        rows += [alone(vectors, name, keep) for name in VECTORS for keep in (0.1, 0.3)]
        rows += [alone(peak, name, n) for name in ("el2n", "aum", "tdds") for n in (SMALL, LARGE)]
    print("\n".join(map(show, rows)))
    if args.out:
        args.out.write_text(json.dumps({"machine": about, "rows": rows}, indent=1) + "\n")
        args.out.with_suffix(".md").write_text(markdown(about, rows))


if __name__ == "__main__":
    main()
