"""Facts of made-up runs, with names that try to leave their place."""

import numpy as np
import torch

from samplewise.coresets.history import SelectionHistory
from samplewise.coresets.table import ScoreTable
from samplewise.html.facts import Comparison, Facts, Picture, Run, Spent
from samplewise.report.against_cost import Point
from samplewise.report.curves import Curve
from samplewise.report.forest import Difference

NAMES = (
    "<script>window.broken = 1</script>",
    "</script><img src=x onerror=\"window.broken = 1\">",
    "\"quotes\" 'and' \\ back\\slashes",
    "<!-- <script> ${window.broken = 1} {{ 7 * 7 }}",
    "=1+1",
    "no text: \udcff\x00\x07",
)  # fmt: skip
N = 60


def table(n=N, labels=True, history=True):
    """Losses that rise with the id, six classes in turn; sample i < 6 is never used."""
    loss = torch.arange(n, dtype=torch.float32) / n
    loss[3] = float("nan")
    kept = None
    times = torch.arange(n) % 4
    if history:
        kept = SelectionHistory(n)
        for epoch in range(4):
            kept.add(epoch, (torch.arange(n) % 6 >= epoch).nonzero().squeeze(1))
        times = kept.times()
    origin = {"n": n, "selections": [{"epoch": e, f"share {NAMES[0]}": 0.1 * (e + 1)} for e in range(4)]}
    known = torch.arange(n) % len(NAMES) if labels else None
    return ScoreTable(range(n), {"loss": loss, NAMES[1]: 1 - loss}, times, known, origin, kept)


def facts(n=N):
    """One of everything."""
    pictures = lambda ids: [Picture("text", f"{NAMES[1]} {i}") for i in ids]  # noqa: E731
    features = np.random.default_rng(0).normal(size=(n, 5)).astype(np.float32)
    run = Run(NAMES[1], table(n), [1.0, 0.75, 0.5], NAMES, pictures, features, "scores.parquet")
    spent = Spent(NAMES[1], 0.3, 0.25, {"data": 1.0, "training": 9.0}, True)
    compared = Comparison(
        NAMES[0],
        [f"{NAMES[1]} is better."],
        "test accuracy, %",
        [Point(NAMES[0], 50.0, 90.0, 1.0, 2.0, "better"), Point(NAMES[2], 60.0, 89.0)],
        [Point("full, 1 epoch", 40.0, 80.0, 0.0, 1.0), Point("full, 2 epochs", 100.0, 91.0, 0.0, 1.0)],
        [Point(NAMES[3], 55.0, 88.0)],
        [Curve(NAMES[0], [10.0, 50.0], [60.0, 90.0]), Curve(NAMES[3], [20.0, 60.0], [65.0, 89.0])],
        heads=["method", NAMES[2]],
        rows=[[NAMES[0], "90"], [NAMES[1], "80"]],
        notes=[NAMES[3]],
        spent=[spent],
        differences=[Difference(NAMES[0], 0.5, 0.2, 0.8, 0.4, "better")],
        delta=0.3,
    )
    settings = [(NAMES[1], {NAMES[0]: [NAMES[2], {"inner": NAMES[1]}], "nothing": None})]
    return Facts(NAMES[1], [compared], [run], settings, [NAMES[0]])
