"""A report of ImageNet's size in a process of its own: its bytes, and the megabytes and seconds it took."""

import resource
import sys
import time

import numpy as np
import torch

from samplewise.coresets.history import SelectionHistory
from samplewise.coresets.table import ScoreTable
from samplewise.html.facts import Comparison, Facts, Run
from samplewise.html.write import render

N, CLASSES, RUNS, SELECTIONS = 1_281_167, 1000, 2, 20


def made(seed):
    rng = np.random.default_rng(seed)
    kept = SelectionHistory(N)
    for epoch in range(SELECTIONS):
        kept.add(epoch, torch.from_numpy(np.flatnonzero(rng.random(N) < 0.7)))
    columns = {name: rng.normal(size=N).astype(np.float32) for name in ("loss", "mean", "variance")}
    labels = torch.from_numpy(rng.integers(0, CLASSES, N))
    names = [f"n{i:08d} a class with a long name, as ImageNet has them" for i in range(CLASSES)]
    return Run(
        f"run {seed}", ScoreTable(range(N), columns, kept.times(), labels, None, kept), [0.7] * 20, names
    )


def megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    torch.set_num_threads(1)
    runs = [made(seed) for seed in range(RUNS)]
    before, begun = megabytes(), time.perf_counter()
    page = render(Facts("large", [Comparison("large", ["none"])], runs))
    took = round(megabytes() - before), round(time.perf_counter() - begun, 1)
    sys.stdout.write(f"{len(page)} {took[0]} {took[1]}\n")
