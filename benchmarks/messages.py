"""Measure the choice of D2 from features and scores: nearest neighbors, messages and picks.

    python benchmarks/messages.py --out benchmarks/results/messages.json

One thread. Seconds are those of the thread; memory is what the choice adds to the peak of its process.
"""

import argparse
import json
import resource
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from overhead import machine

from samplewise.pickers import MessagePassing, Pool
from samplewise.rng import generator

KINDS = ("spread", "clusters", "copies")


def features(kind: str, n: int, d: int) -> torch.Tensor:
    """Independent numbers, rectified numbers of 8 directions, or 1,000 vectors that come again and again."""
    rng = generator("messages", kind)
    if kind == "clusters":
        low = torch.randn(n, 8, generator=rng) @ torch.randn(8, d, generator=rng)
        return (low + 0.3 * torch.randn(n, d, generator=rng)).relu()
    found = torch.randn(n, d, generator=rng)
    return found[torch.randint(1000, (n,), generator=rng)] if kind == "copies" else found


def measured(given: tuple[str, int, int, float]) -> dict[str, Any]:
    """One choice, in a process of its own."""
    kind, n, d, keep = given
    torch.set_num_threads(1)
    scores = torch.rand(n, generator=generator("scores"))
    pool = Pool(n, torch.Generator(), {"features": features(kind, n, d), "loss": scores}, "order")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.thread_time()
    MessagePassing(keep, "loss").columns(pool)
    seconds = time.thread_time() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "megabytes": (peak - before) / 1024}


def main() -> None:
    """Measure and write the numbers and a page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=50_000)
    parser.add_argument("--d", type=int, default=64)
    parser.add_argument("--keep", type=float, default=0.5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "messages.json")
    parser.add_argument("--quick", action="store_true", help="few samples: it shows that the script works")
    given = parser.parse_args()
    if given.quick:
        given.n, given.d, given.repeats = 1200, 8, 1
    here, rows = machine(threads=1), []
    for kind in KINDS:
        with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            asked = [(kind, given.n, given.d, given.keep)] * given.repeats
            found = pool.map(measured, asked, chunksize=1)
        spent = sorted(row["seconds"] for row in found)
        rows.append(
            {
                "features": kind,
                "n": given.n,
                "d": given.d,
                "keep": given.keep,
                "seconds": spent[len(spent) // 2],
                "low": spent[0],
                "high": spent[-1],
                "megabytes": max(row["megabytes"] for row in found),
                "repeats": given.repeats,
            }
        )
    given.out.write_text(json.dumps({"machine": here, "rows": rows}, indent=1) + "\n")
    given.out.with_suffix(".md").write_text(page(here, rows))


def page(here: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The numbers as a page."""
    lines = [
        "# D2's choice from features and scores",
        "",
        f"Machine: {here['cpu']}, {here['cores']} cores, torch {here['torch']}. One thread; CPU seconds, "
        "median (lowest to highest) over the repeats. Memory is what the choice adds to the process at most.",
        "",
        "| features | n | d | keep | choosing, s | memory, MB | repeats |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['features']} | {row['n']:,} | {row['d']} | {row['keep']} | {row['seconds']:.1f} "
        f"({row['low']:.1f} to {row['high']:.1f}) | {row['megabytes']:.0f} | {row['repeats']} |"
        for row in rows
    ]
    made = "Numbers: `messages.json`; made with `python benchmarks/messages.py`."
    return "\n".join([*lines, "", made]) + "\n"


if __name__ == "__main__":
    main()
