"""Time the parts of the engine that have a target: here, in another checkout, and a plain reference in turns.

    python benchmarks/speed.py [OTHER_CHECKOUT] [--rounds 6] [--out benchmarks/results/speed.json]

Each round starts one process for each checkout, with its `src` on the path. A process measures every row, and
beside it a reference of plain torch or numpy where there is one, in turns. Times are CPU times of the thread,
those of the command are CPU times of its process. The table has the median of the rounds, and their 10th to
90th percentile. `--quick` runs every row once with few samples. Its numbers say nothing.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Work = Callable[[], Any]
ROWS: dict[str, tuple[str, float | None, float | None]] = {
    "scoring forward, ResNet-18": ("us", 80, None),
    "scoring forward, ResNet-50": ("us", 180, None),
    "kakurenbo, a step: added to loss.mean()": ("us", 40, None),
    "infobatch, a step": ("us", None, 1.0),
    "selective_backprop, rows of a batch": ("us", None, 1.0),
    "weighted draw of a half": ("ns a sample", None, 0.6),
    "order of an epoch": ("ns a sample", 45, None),
    "recorded margins, a batch": ("us", None, 2.0),
    "scores to Parquet": ("ns a sample", 30, None),
    "scores in Parquet": ("bytes a sample", 5, None),
    "samplewise --help": ("s", 0.4, None),
    "samplewise --version": ("s", 0.4, None),
    "samplewise methods": ("s", 0.4, None),
    'Selector("auto_assist")': ("s", 0.1, None),
    'Selector("infobatch", epochs=40_000)': ("s", 0.2, None),
}
"""For each row its unit, the most that it may be, and the most that it may be in shares of the reference."""
SCALE = {"us": 1e6, "ns a sample": 1e9, "s": 1.0, "bytes a sample": 1.0}


def spent(work: Work) -> float:
    """CPU seconds of this thread in one call."""
    begun = time.thread_time()
    work()
    return time.thread_time() - begun


def turns(work: Work, reference: Work, repeats: int, inner: int = 1) -> tuple[float, float]:
    """Median seconds of a call of both, which take turns."""
    mine, plain = [], []
    for _ in range(repeats + 1):
        mine.append(spent(lambda: [work() for _ in range(inner)]) / inner)
        plain.append(spent(lambda: [reference() for _ in range(inner)]) / inner)
    return statistics.median(mine[1:]), statistics.median(plain[1:])


def measured(quick: bool) -> dict[str, list[float]]:
    """For each row the value, and that of the reference if there is one."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    repeats = 3 if quick else 60
    found: dict[str, list[float]] = {}
    found |= of_scoring(repeats)
    found |= of_steps(repeats)
    found |= of_draws(2000 if quick else 5_000_000, 1 if quick else 5)
    found |= of_recording(repeats)
    found |= of_files(2000 if quick else 1_000_000, 1 if quick else 5)
    found |= of_starting(1 if quick else 3)
    return found


def of_scoring(repeats: int) -> dict[str, list[float]]:
    """What is around a scoring forward."""
    from scoring import network

    import samplewise as sw
    from samplewise.loop.scoring import without_trace

    def around(model: Any) -> None:
        with without_trace(model, sw.Scoring()):
            pass

    found = {}
    for name in ("ResNet-18", "ResNet-50"):
        model = network(name)
        seconds = [spent(lambda model=model: around(model)) for _ in range(repeats)]
        found[f"scoring forward, {name}"] = [statistics.median(seconds)]
    return found


def of_steps(repeats: int, b: int = 256, n: int = 50_000, classes: int = 10) -> dict[str, list[float]]:
    """Steps of kakurenbo, infobatch and selective_backprop beside what they compute at least."""
    import numpy as np
    import torch

    import samplewise as sw

    logits, targets = torch.randn(b, classes), torch.randint(classes, (b,))
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none").requires_grad_()
    outputs = sw.Outputs(losses, logits, targets)
    batches = [sw.Batch(ids, None) for ids in torch.randperm(n).split(b) if len(ids) == b]
    found = {}

    def stepping(name: str, returned: Any) -> Work:
        selector = sw.Selector(
            name, n, lambda _: returned, epochs=10, batch_size=b, labels=torch.arange(n) % classes
        )
        selector.plan(0)
        left = iter(batches * 100)
        return lambda: selector.loss(next(left))

    mine, plain = turns(stepping("kakurenbo", outputs), lambda: outputs.loss.mean(), repeats, 20)
    found["kakurenbo, a step: added to loss.mean()"] = [mine - plain]

    scores, weights, left = torch.ones(n), torch.ones(n), iter(batches * 100)

    def infobatch() -> None:  # its own step: remember the losses, and weigh them
        ids = next(left).ids
        values = losses.detach()
        if not bool(torch.isfinite(values).all()):
            raise ValueError
        scores[ids] = values
        (losses * weights[ids]).mean()

    found["infobatch, a step"] = list(turns(stepping("infobatch", losses), infobatch, repeats, 20))

    selector = sw.Selector("selective_backprop", n, epochs=10)
    for epoch in range(2):
        selector.plan(epoch)
        for batch in batches[:8]:
            selector.observe(batch.ids, torch.rand(b))
    ids, rng = batches[0].ids, np.random.default_rng(0)
    chances = (np.arange(0.5, b) / b) ** 3.0
    chances /= chances.sum()

    def by_rank() -> None:  # sort the losses, draw a fixed number of them by the power of their rank
        order = torch.argsort(losses.detach())
        order[torch.from_numpy(rng.choice(b, b // 4, replace=False, p=chances))]

    found["selective_backprop, rows of a batch"] = list(
        turns(lambda: selector.engine.choose(ids), by_rank, repeats, 20)
    )
    return found


def of_draws(n: int, repeats: int) -> dict[str, list[float]]:
    """A weighted draw without replacement, and the order of an epoch."""
    import torch

    import samplewise as sw
    from samplewise.pickers import ranking
    from samplewise.rng import generator

    m = n // 5
    weights, rng = torch.rand(m), generator("speed")

    def keys() -> None:  # a float64 key for each sample, and the largest half of them
        drawn = torch.empty(m, dtype=torch.float64).exponential_(generator=rng)
        drawn.div_(weights).topk(m // 2, largest=False, sorted=False)

    drawn = turns(lambda: ranking.race(weights, m // 2, rng), keys, repeats)
    selector = sw.Selector("full", n, epochs=3)
    selector.plan(0)
    ordered = turns(selector.timeline.order, lambda: torch.randperm(n, generator=rng), repeats)
    return {
        "weighted draw of a half": [seconds / m for seconds in drawn],
        "order of an epoch": [seconds / n for seconds in ordered],
    }


def of_recording(repeats: int, b: int = 256, n: int = 50_000, classes: int = 10) -> dict[str, list[float]]:
    """Margins of a batch added up for its samples, as `aum` records them; measured over an epoch."""
    import torch

    import samplewise as sw

    batches = torch.randperm(n).split(b)
    logits, labels = torch.randn(b, classes), torch.arange(n) % classes
    selector = sw.Selector("aum", n, epochs=repeats + 3, labels=labels)
    shown = [sw.Outputs(torch.rand(len(ids)), logits[: len(ids)], labels[ids]) for ids in batches]
    total, seen = torch.zeros(n), torch.zeros(n, dtype=torch.int32)
    at = iter(range(repeats + 3))

    def ours() -> None:
        selector.plan(next(at))
        for ids, outputs in zip(batches, shown, strict=True):
            selector.observe(ids, outputs)
        selector.timeline.end_epoch()

    def plain() -> None:
        for ids, outputs in zip(batches, shown, strict=True):
            values, mine = outputs.logits.softmax(1), outputs.targets[:, None]
            other = values.scatter(1, mine, float("-inf")).amax(1)
            total.index_add_(0, ids, values.gather(1, mine)[:, 0] - other)
            seen[ids] += 1

    found = turns(ours, plain, min(repeats, 8))
    return {"recorded margins, a batch": [seconds / len(batches) for seconds in found]}


def of_files(n: int, repeats: int) -> dict[str, list[float]]:
    """A table of losses as a Parquet file."""
    import torch

    import samplewise as sw

    selector = sw.Selector("infobatch", n, epochs=3)
    selector.plan(0)
    selector.observe(torch.arange(n), torch.rand(n))
    table = selector.table()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "scores.parquet")
        seconds = statistics.median(spent(lambda: table.to_parquet(file)) for _ in range(repeats))
        return {"scores to Parquet": [seconds / n], "scores in Parquet": [file.stat().st_size / n]}


def of_starting(repeats: int) -> dict[str, list[float]]:
    """The command until it has answered, and two Selectors until they are built."""
    import torch

    import samplewise as sw

    found = {}
    for words in ("--help", "--version", "methods"):
        seconds = []
        for _ in range(repeats):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-m", "samplewise", words], capture_output=True, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        found[f"samplewise {words}"] = [statistics.median(seconds)]
    data = torch.utils.data.TensorDataset(torch.randn(64, 4), torch.randn(64, 1))

    def assisted() -> None:
        sw.Selector("auto_assist", data, lambda batch: batch[0][:, 0] ** 2, epochs=20, batch_size=8)

    # The first one: later ones find everything imported.
    found['Selector("auto_assist")'] = [spent(assisted)]
    found['Selector("infobatch", epochs=40_000)'] = [
        spent(lambda: sw.Selector("infobatch", 1000, epochs=40_000))
    ]
    return found


def of_checkout(checkout: Path, quick: bool) -> dict[str, list[float]]:
    """What a process with this checkout measures."""
    env = os.environ | {"PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--measure", *["--quick"] * quick]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    times: dict[str, list[float]] = json.loads(done.stdout)
    return times


def summary(values: list[float]) -> dict[str, float]:
    """Median, and 10th to 90th percentile."""
    ordered = sorted(values)
    last = len(ordered) - 1
    low, high = ordered[round(0.1 * last)], ordered[round(0.9 * last)]
    return {"median": statistics.median(values), "low": low, "high": high}


def joined(rounds: dict[str, list[dict[str, list[float]]]]) -> list[dict[str, Any]]:
    """A row of the table for each part: both checkouts, the reference, and the target."""
    rows = []
    for name, (unit, most, share) in ROWS.items():
        row: dict[str, Any] = {"what": name, "unit": unit, "target": most, "target_ratio": share}
        for checkout, runs in rounds.items():
            row[checkout] = summary([SCALE[unit] * run[name][0] for run in runs])
        if len(rounds["here"][0][name]) > 1:
            row["reference"] = summary([SCALE[unit] * run[name][1] for run in rounds["here"]])
            row["ratio"] = summary([run[name][0] / run[name][1] for run in rounds["here"]])
        met = [row["here"]["median"] <= most] if most is not None else []
        met += [row["ratio"]["median"] <= share] if share is not None else []
        rows.append(row | {"met": all(met)})
    return rows


def shown(row: dict[str, float] | None) -> str:
    """A value with its spread."""
    return "" if row is None else f"{row['median']:.3g} ({row['low']:.3g} to {row['high']:.3g})"


def page(found: dict[str, Any]) -> str:
    """The table as Markdown."""
    about = found["machine"]
    lines = [
        "# Speed of the engine",
        "",
        f"Machine: {about['cpu']}, {about['cores']} cores, torch {about['torch']}; one thread, CPU times.",
        f"Median (10th to 90th percentile) of {found['rounds']} rounds, the checkouts in turns.",
        "",
        *(["Quick form: it shows that the script works. Its numbers say nothing.", ""] * found["quick"]),
        "| part | unit | before | now | reference | now / reference | target | met |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in found["rows"]:
        target = f"{row['target']}" if row["target"] is not None else f"{row['target_ratio']} x reference"
        cells = [row["what"], row["unit"], shown(row.get("before")), shown(row["here"])]
        cells += [shown(row.get("reference")), shown(row.get("ratio")), target, "yes" if row["met"] else "no"]
        lines.append("| " + " | ".join(cells) + " |")
    return (
        "\n".join(
            [*lines, "", "Numbers: the JSON file beside this page; made with `python benchmarks/speed.py`."]
        )
        + "\n"
    )


def main() -> None:
    """Time both checkouts, print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("other", nargs="?", type=Path, help="another checkout; this one alone if left out")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--quick", action="store_true", help="one round with few samples")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="a JSON file; a table is written beside it")
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measured(given.quick)))
        return
    from samplewise.bench import machine

    checkouts = {"here": Path(__file__).resolve().parents[1]}
    if given.other is not None:
        checkouts = {"before": given.other} | checkouts
    rounds: dict[str, list[dict[str, list[float]]]] = {name: [] for name in checkouts}
    for _ in range(1 if given.quick else given.rounds):
        for name, path in checkouts.items():
            rounds[name].append(of_checkout(path, given.quick))
    about = machine.machine("cpu") | machine.versions()
    found = {"machine": about, "quick": given.quick, "rounds": len(rounds["here"]), "rows": joined(rounds)}
    print(page(found))
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=1) + "\n")
        given.out.with_suffix(".md").write_text(page(found))


if __name__ == "__main__":
    main()
