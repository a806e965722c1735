"""Measure DynaMS's choice at ImageNet's size: from the margins that a pass wrote to the samples chosen.

    python benchmarks/margins.py --out benchmarks/results/margins.json

One thread. Needs 8 GB of memory. The margins come from random features and a random head, and a pass
writes them batch by batch into columns. A second set is independent numbers. Seconds are those of the
thread, medians.
"""

import argparse
import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from overhead import machine
from torch import Tensor

from samplewise.pickers.margins import nearest, nearest_held
from samplewise.rng import generator
from samplewise.signals import class_margins
from samplewise.trackers import Margins

TARGET = 10.0


def chunks(n: int, classes: int, width: int, b: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Ids and margins of a pass in batches of b, in the samples' order. The numbers are always the same."""
    rng = generator("margins", n, classes)
    weight = torch.randn(classes, width, generator=rng)
    targets = torch.randint(classes, (n,), generator=rng)
    for start in range(0, n, b):
        ids = torch.arange(start, min(n, start + b))
        # Features near the weight of their class, as in a trained model.
        h = torch.randn(len(ids), width, generator=rng) + 2 * weight[targets[ids]]
        yield ids, class_margins(h, targets[ids], weight)


def written(n: int, classes: int, width: int, b: int) -> tuple[Tensor, float]:
    """The matrix that a pass writes, and the seconds of writing it. Computing the margins does not count."""
    tracker, state, seconds = Margins(), {}, 0.0
    for ids, values in chunks(n, classes, width, b):
        begun = time.thread_time()
        if not state:
            state = tracker.start(n, {"margins": values})
        tracker.observe(state, ids, {"margins": values})
        seconds += time.thread_time() - begun
    return state["margins"], seconds


def timed(matrix: Tensor, k: int, repeats: int) -> dict[str, Any]:
    """The seconds of the choice. Checks that it has exactly k samples."""
    spent = []
    for _ in range(repeats):
        begun = time.thread_time()
        rows = nearest(matrix, k)
        spent.append(time.thread_time() - begun)
        if len(rows) != k:
            raise AssertionError(f"{len(rows)} of {k} samples were chosen")
    spent.sort()
    return {"seconds": spent[len(spent) // 2], "low": spent[0], "high": spent[-1], "repeats": repeats}


def main() -> None:
    """Measure and write the numbers and a page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1_281_167)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keeps", type=float, nargs="+", default=[0.6, 0.2])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "margins.json")
    parser.add_argument("--quick", action="store_true", help="few samples: it shows that the script works")
    given = parser.parse_args()
    if given.quick:
        given.n, given.classes, given.width, given.repeats = 4000, 10, 8, 1
    torch.set_num_threads(1)
    n, classes = given.n, given.classes
    rows = []
    matrix, writing = written(n, classes, given.width, 256)
    for keep in given.keeps:
        measured = timed(matrix, int(keep * n), given.repeats)
        rows.append({"margins": "features and head", "n": n, "classes": classes, "keep": keep} | measured)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    matrix.T.copy_(torch.rand(classes, n, generator=generator("independent", n)))
    for keep in given.keeps:
        measured = timed(matrix, int(keep * n), given.repeats)
        rows.append({"margins": "independent", "n": n, "classes": classes, "keep": keep} | measured)
    small = n // 20
    whole, _ = written(small, classes, given.width, 256)
    k = int(0.2 * small)
    begun = time.thread_time()
    held, reads = nearest_held(
        lambda: chunks(small, classes, given.width, 256), small, classes, k, 4 * (k // classes + 1)
    )
    streamed = time.thread_time() - begun
    same = torch.equal(held, nearest(whole, k))
    found = {
        "machine": machine(1),
        "rows": rows,
        "writing_seconds": writing,
        "peak_gb": peak,
        "stream": {
            "n": small,
            "keep": 0.2,
            "held": 4 * (k // classes + 1),
            "reads": reads,
            "same": same,
            "seconds": streamed,
        },
    }
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    given.out.with_suffix(".md").write_text(page(found))


def page(found: dict[str, Any]) -> str:
    """The numbers as Markdown."""
    about, stream = found["machine"], found["stream"]
    lines = [
        "# DynaMS's choice at ImageNet's size",
        "",
        f"Machine: {about['cpu']}, {about['cores']} cores, torch {about['torch']}. One thread; CPU seconds, "
        f"median (lowest to highest) over the repeats. Target: at most {TARGET:g} s, from the margins that "
        "the pass wrote.",
        "",
        "| margins | n | classes | keep | choosing, s | repeats |",
        "|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        spread = f"{row['seconds']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
        lines.append(
            f"| {row['margins']} | {row['n']:,} | {row['classes']:,} | {row['keep']:g} | {spread} "
            f"| {row['repeats']} |"
        )
    lines += [
        "",
        f"Writing the margins into columns in batches of 256 took {found['writing_seconds']:.1f} s over the "
        f"whole pass. The process's peak was {found['peak_gb']:.1f} GB, including the matrix of "
        f"{4 * found['rows'][0]['n'] * found['rows'][0]['classes'] / 1e9:.1f} GB.",
        "",
        f"Holding {stream['held']} margins per column instead of all of them, at n = {stream['n']:,} and "
        f"keep {stream['keep']:g}: {'the same samples' if stream['same'] else 'OTHER SAMPLES'} after "
        f"{stream['reads']} read(s) of the stream, {stream['seconds']:.0f} s including the computation of "
        "the margins.",
        "",
        "Numbers: `margins.json`; made with `python benchmarks/margins.py`.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
