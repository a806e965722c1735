"""What processes exchange: bytes of an epoch by recipe, the time of a merge, and what many processes take.

    python benchmarks/ranks.py --out benchmarks/results/ranks.json

Bytes: two gloo processes train a small network with every recipe. Each call of torch.distributed in the
later epochs is counted, with the bytes that the process hands to it. Merge: two processes have each observed
half of n samples; the time is CPU time of the merge on the slower one, without the transport. `--quick` runs
everything with few samples, to see that the script works. Its numbers say nothing.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as c10d
import torch.multiprocessing as mp
from gpu_training import Images, Training
from overhead import outputs_of

import samplewise as sw
from samplewise.bench import machine
from samplewise.testing.trace import build

Row = dict[str, Any]
WORLD, FIRST, EPOCHS = 2, 2, 4
"""The first epochs are not counted: there the processes compare how they were built."""
MANY, IMAGENET = 64, 1_281_167
MERGED = ("infobatch", "evolved_sampling", "kakurenbo", "ucb", "dynams")


class Counted:
    """Counts the calls of torch.distributed, and the bytes that this process hands to them."""

    def __init__(self) -> None:
        self.calls = self.bytes = 0
        self._kept = c10d.all_gather, c10d.all_reduce

    def __enter__(self) -> "Counted":
        gather, reduce = self._kept

        def all_gather(found: list[torch.Tensor], mine: torch.Tensor, *more: Any, **given: Any) -> Any:
            self._add(mine)
            return gather(found, mine, *more, **given)

        def all_reduce(mine: torch.Tensor, *more: Any, **given: Any) -> Any:
            self._add(mine)
            return reduce(mine, *more, **given)

        c10d.all_gather, c10d.all_reduce = all_gather, all_reduce
        return self

    def __exit__(self, *error: object) -> None:
        c10d.all_gather, c10d.all_reduce = self._kept

    def _add(self, mine: torch.Tensor) -> None:
        self.calls += 1
        self.bytes += mine.nbytes


def exchanged(name: str, n: int, b: int) -> Row:
    """Calls and bytes of an epoch, on this process."""
    policy = build(sw.recipes.get(name), n, period=1)
    run = Training(policy, Images.of_noise(n, 8, torch.device("cpu")), "mlp", b, epochs=10)
    counted, steps = Counted(), 0
    for _ in range(FIRST):
        one_epoch(run)
    with counted:
        for _ in range(EPOCHS):
            steps += one_epoch(run)
    return {"calls": counted.calls / EPOCHS, "bytes": counted.bytes / EPOCHS, "steps": steps / EPOCHS}


def one_epoch(run: Training) -> int:
    """Train for an epoch; the number of its steps."""
    steps = 0
    for batch in run.loader:
        run.step(sw.Batch(batch.ids, run.taken(batch.data)))
        steps += 1
    run.selector.sync()
    return steps


def merging(name: str, n: int, repeats: int) -> list[float]:
    """CPU seconds of each merge, when this process has observed its share of n samples."""
    labels = torch.arange(n) % 10
    selector = sw.Selector(build(sw.recipes.get(name), n, period=1), n, epochs=10, labels=labels)
    passes = "pass" in selector.policy.source
    for epoch in range(selector.epochs):
        if passes and selector.pass_due(epoch):
            break
        selector.plan(epoch)
        if not passes:
            break
    source: Any = "pass" if passes else "training"
    seconds = []
    for _ in range(repeats):
        for ids in torch.arange(c10d.get_rank(), n, WORLD).split(1 << 16):
            selector.observe(ids, outputs_of(len(ids)), source)
        begun = time.process_time()
        selector.sync()
        seconds.append(time.process_time() - begun)
    return seconds


def work(rank: int, folder: str, quick: bool) -> None:
    """All rows of one process."""
    torch.set_num_threads(1)
    c10d.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=WORLD)
    n, b = (48, 8) if quick else (4096, 32)
    found: Row = {"n": n, "exchanged": {}, "merged": {}}
    for name in sorted(sw.recipes.all()):
        found["exchanged"][name] = exchanged(name, n, b)
    found["merged_n"] = 512 if quick else IMAGENET
    for name in MERGED:
        found["merged"][name] = merging(name, found["merged_n"], 2 if quick else 6)[1:]
    Path(folder, f"{rank}.json").write_text(json.dumps(found))
    c10d.barrier()
    c10d.destroy_process_group()


def joined(ranks: list[Row]) -> Row:
    """The rows of all processes as one: the most bytes, and the slowest merge of each repeat."""
    first = ranks[0]
    rows = []
    for name, calls in first["exchanged"].items():
        sent = max(rank["exchanged"][name]["bytes"] for rank in ranks)
        a_sample = WORLD * sent / first["n"]  # of those that a process sees
        row = {"name": name, "calls": calls["calls"], "steps": calls["steps"], "bytes": sent}
        row["many_sent"] = a_sample * IMAGENET / MANY
        row["many_received"] = a_sample * IMAGENET * (MANY - 1) / MANY
        rows.append(row)
    merges = []
    for name in first["merged"]:
        slowest = [max(times) for times in zip(*(rank["merged"][name] for rank in ranks), strict=True)]
        ns = [1e9 * seconds / first["merged_n"] for seconds in slowest]
        merges.append({"name": name, "ns": statistics.median(ns), "low": min(ns), "high": max(ns)})
    return {"n": first["n"], "merged_n": first["merged_n"], "exchanged": rows, "merged": merges}


def page(found: Row) -> str:
    """The numbers as Markdown."""
    about, n = found["machine"], found["n"]
    lines = [
        "# What processes exchange",
        "",
        f"Machine: {about['cpu']}, {about['cores']} cores, torch {about['torch']}. {WORLD} gloo processes.",
        "",
        *(["Quick form: it shows that the script works. Its numbers say nothing.", ""] * found["quick"]),
        f"Measured: an epoch of {n:,} samples with a small network. Calls and bytes are those that one",
        "process hands to torch.distributed in an epoch, mean of 4 epochs. Gradients are not among them.",
        "",
        f"Extrapolated: {MANY} processes and n = {IMAGENET:,}. A process hands over its share, and gets that",
        "of all others. The bytes of a sample are taken from the measurement.",
        "",
        f"| method | calls | steps | kB given | extrapolated: MB given by each of {MANY} | MB it gets |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in found["exchanged"]:
        cells = [f"{row['calls']:.1f}", f"{row['steps']:.1f}", f"{row['bytes'] / 1e3:.1f}"]
        cells += [f"{row['many_sent'] / 1e6:.2f}", f"{row['many_received'] / 1e6:.1f}"]
        lines.append("| " + " | ".join((row["name"], *cells)) + " |")
    lines += [
        "",
        f"Measured: CPU time of a merge, n = {found['merged_n']:,}, of which each of {WORLD} processes has",
        "seen a half. Nanoseconds for each of the n samples, median (least to most) of the repeats. More",
        "processes unpack n rows too, so this part does not change. The transport does.",
        "",
        "| method | ns a sample | seconds for n = 1,281,167 |",
        "| --- | --- | --- |",
    ]
    for row in found["merged"]:
        spread = f"{row['ns']:.0f} ({row['low']:.0f} to {row['high']:.0f})"
        lines.append(f"| {row['name']} | {spread} | {row['ns'] * IMAGENET / 1e9:.3f} |")
    return "\n".join([*lines, "", "Numbers: `ranks.json`; made with `python benchmarks/ranks.py`."]) + "\n"


def main() -> None:
    """Start the processes, and write what they measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "ranks.json")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(work, args=(folder, given.quick), nprocs=WORLD)
        ranks = [json.loads(Path(folder, f"{rank}.json").read_text()) for rank in range(WORLD)]
    about = machine.machine("cpu") | machine.versions()
    found = {"machine": about, "quick": given.quick} | joined(ranks)
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    given.out.with_suffix(".md").write_text(page(found))
    print(page(found))


if __name__ == "__main__":
    main()
