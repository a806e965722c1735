"""Measure the memory and time that selection takes when there are very many samples.

    python benchmarks/large.py --n 10000000 --recipe infobatch --out benchmarks/results/large.json

`--add` keeps the rows that the file has of other calls. Each row runs in a new process. It observes a loss
for each of n samples, and then measures stage by stage the peak of the resident memory above that of the
stored scores and counts, in bytes a sample, and the CPU time. `plain` and `compact` are the two forms of
plans: see `Selector(compact=...)`. Nothing is trained and no data are loaded. `--quick` measures few samples,
to see that the script works. Its numbers say nothing.
"""

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from overhead import machine
from torch import Tensor

import samplewise as sw
from samplewise.testing.trace import build

Row = dict[str, Any]
RECIPES = (
    "full", "random_dynamic", "rs2", "infobatch", "ucb", "uncertainty_ema", "epsilon_greedy", "eswp",
    "evolved_sampling", "kakurenbo", "ies", "noise_budget", "online_batch_selection",
)  # fmt: skip
STAGES = ("plan", "order", "weights", "mask", "state", "load", "parquet")
AT_ONCE = 1 << 16
"""Samples that are observed at once."""


def resident(which: str) -> int:
    """The resident memory of this process in bytes: now (VmRSS) or at its peak (VmHWM)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(which):
            return int(line.split()[1]) << 10
    raise OSError(f"/proc/self/status has no {which}: this script needs Linux.")


def pieces(n: int) -> Iterator[Tensor]:
    """All ids, a piece at a time."""
    for start in range(0, n, AT_ONCE):
        yield torch.arange(start, min(n, start + AT_ONCE))


def observe(selector: sw.Selector, source: Any) -> None:
    """Observe every sample once."""
    for ids in pieces(selector.n):
        losses = torch.rand(len(ids))
        logits, targets = torch.rand(len(ids), 2), torch.zeros(len(ids), dtype=torch.int64)
        needs = {"logits", "targets"} & set(selector.policy.reads)
        outputs = sw.Outputs(losses, logits, targets) if needs else sw.Outputs(losses)
        selector.observe(ids, outputs, source)


def fed(recipe: str, n: int, compact: bool) -> sw.Selector:
    """A selector whose epoch 1 comes next. Every sample was observed."""
    torch.manual_seed(0)
    policy = build(sw.recipes.get(recipe), n, period=1)
    selector = sw.Selector(policy, n, epochs=10, compact=compact)
    for epoch in range(2):
        if selector.pass_due(epoch):
            observe(selector, "pass")
        if epoch == 0:
            selector.plan(0)
            if "training" in policy.source:
                observe(selector, "training")
            selector.timeline.end_epoch()
    return selector


def measured(recipe: str, form: str, n: int) -> Row:
    """One row, in this process."""
    torch.set_num_threads(1)
    compact = form == "compact"
    warm = fed(recipe, min(n, 1 << 18), compact)  # what is imported and allocated once
    warm.plan(1)
    del warm
    gc.collect()
    base = resident("VmRSS")
    selector = fed(recipe, n, compact)
    memory = selector.engine.memory
    stored = sum(column.nbytes for column in memory.columns.values())
    base += stored + memory.times_selected.nbytes
    found: Row = {"recipe": recipe, "form": form, "n": n, "scores": stored / n}
    found |= {"counts": memory.times_selected.nbytes / n, "stages": {}}

    def stage(name: str, run: Callable[[], Any]) -> Any:
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins again
        begun = time.process_time()
        result = run()
        seconds, peak = time.process_time() - begun, resident("VmHWM")
        gc.collect()
        kept = resident("VmRSS")
        found["stages"][name] = {
            "seconds": seconds,
            "peak": (peak - base) / n,
            "kept": (kept - base) / n,
        }
        return result

    def order() -> int:
        return sum(len(piece) for piece in selector.timeline.draw(False).split(1 << 14))

    def load(state: dict[str, Any]) -> None:
        selector.load_state_dict(state)
        next(iter(selector.sampler(resumes=True)))

    def parquet() -> int:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "scores.parquet"
            selector.table().to_parquet(path)
            return path.stat().st_size

    found["planned"] = len(stage("plan", lambda: selector.plan(1)))
    stage("order", order)
    batch = next(iter(selector.timeline.draw(False).split(1 << 14)))[:256]
    stage("weights", lambda: selector.engine.weights(batch))
    stage("mask", selector.mask)
    state = stage("state", selector.state_dict)
    stage("load", partial(load, state))
    del state
    found["file"] = stage("parquet", parquet) / n
    return found


def in_new_process(recipe: str, form: str, n: int) -> Row:
    """One row, in a process of its own."""
    command = [sys.executable, __file__, "--row", recipe, form, str(n)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


def epoch_of(row: Row) -> tuple[float, float, float]:
    """What an epoch takes: seconds, peak and kept bytes a sample, of its plan, its order and its weights."""
    stages = [row["stages"][name] for name in ("plan", "order", "weights")]
    return (
        sum(stage["seconds"] for stage in stages),
        max(stage["peak"] for stage in stages),
        stages[-1]["kept"],
    )


def markdown(about: Row, rows: list[Row]) -> str:
    """The results as a page."""
    lines = [
        "# Selection among very many samples",
        "",
        f"{about['cpu']}, 1 thread, torch {about['torch']}, numpy {about['numpy']}, "
        f"Python {about['python']}; load at the start {about['load_at_start']:.1f}. One run a row, each in a "
        "new process. Made with "
        "`python benchmarks/large.py --n ... --recipe ... --add --out benchmarks/results/large.json`.",
        "",
        "Bytes are per sample of the whole data set, beyond the stored scores and the counts of selections. "
        "`peak` is the highest during the plan of an epoch, its whole order and the weights of its first "
        "batch; `kept` is held while the epoch is open. Seconds are CPU seconds of the plan and of the whole "
        "order. The last two columns are extrapolated from n = 10^8 to 10^9, at the same bytes and seconds a "
        "sample. They are not measured.",
        "",
        "| recipe | form | n | planned | scores | counts | peak | kept | plan s | order s | "
        "10^9: GB beyond scores and counts, extrapolated | 10^9: seconds an epoch, extrapolated |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        seconds, peak, kept = epoch_of(row)
        far = row["n"] == 10**8
        lines.append(
            f"| {row['recipe']} | {row['form']} | {row['n']:,} | {row['planned'] / row['n']:.0%} | "
            f"{row['scores']:.0f} | {row['counts']:.0f} | {peak:.2f} | {kept:.2f} | "
            f"{row['stages']['plan']['seconds']:.2f} | {row['stages']['order']['seconds']:.2f} | "
            + (f"{peak:.1f} | {10 * seconds:.0f} |" if far else "- | - |")
        )
    lines += [
        "",
        "Peak bytes a sample beyond scores and counts, and CPU seconds, of what is done around an epoch. The "
        "plan is held meanwhile; `load` also holds the state, and from `mask` on the mask is held (1 byte). "
        "`load` ends with the first id of the open epoch.",
        "",
        "| recipe | form | n | mask | state | load | Parquet | file bytes |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        cells = [row["stages"][name] for name in ("mask", "state", "load", "parquet")]
        shown = " | ".join(f"{cell['peak']:.2f}, {cell['seconds']:.2f} s" for cell in cells)
        lines.append(f"| {row['recipe']} | {row['form']} | {row['n']:,} | {shown} | {row['file']:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure all rows, print them, and write them as JSON and as a page next to it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, nargs="+", default=[10**7, 10**8])
    parser.add_argument("--recipe", nargs="+", default=list(RECIPES))
    parser.add_argument("--form", nargs="+", default=["plain", "compact"], choices=["plain", "compact"])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--add", action="store_true", help="keep the other rows of the file")
    parser.add_argument("--quick", action="store_true", help="few samples: see above")
    parser.add_argument("--row", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.row:
        recipe, form, n = args.row
        print(json.dumps(measured(recipe, form, int(n))))
        return
    if args.quick:
        args.n, args.recipe = [1 << 12], ["infobatch", "ucb"]
    about = machine(1)
    rows = []
    for n in args.n:
        for recipe in args.recipe:
            for form in args.form:
                rows.append(row := in_new_process(recipe, form, n))
                seconds, peak, kept = epoch_of(row)
                print(
                    f"{recipe:<24} {form:<8} {n:>13,} {seconds:8.2f} s {peak:7.2f} B, kept {kept:6.2f}",
                    flush=True,
                )
    if args.add and args.out and args.out.exists():
        done = [(row["recipe"], row["form"], row["n"]) for row in rows]
        before = json.loads(args.out.read_text())["rows"]
        rows += [row for row in before if (row["recipe"], row["form"], row["n"]) not in done]
        rows.sort(key=lambda row: (row["n"], RECIPES.index(row["recipe"]), row["form"] == "compact"))
    if args.out:
        args.out.write_text(json.dumps({"machine": about, "rows": rows}, indent=1) + "\n")
        args.out.with_suffix(".md").write_text(markdown(about, rows))


if __name__ == "__main__":
    main()
