"""What the adapter adds to a Trainer's step, and how much of the promised saving the clock shows."""

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from glue_train import BATCH, NOTED, STOCK, Run, built, train
from glue_turns import Row, side_by_side

NARROWED = "loss_sampling"
STEPS_A_TURN, FIRST = 5, 10
Pairs = list[tuple[float, float]]


def measure(folder: Path, model: str, threads: int, rows: int, repeats: int = 2) -> Row:
    """The same batches with and without the adapter, in turns of five steps; medians over the steps.

    Once with the encoder, and once with an encoder that is so small that only the adapter's own time differs.
    """

    def runs(tiny: bool, seed: int) -> dict[str, Row]:
        slices = rows // BATCH // STEPS_A_TURN
        methods = [STOCK, "full"] if tiny else [STOCK, "full", NARROWED]
        made = [
            Run("cola", m, seed, folder, model, rows, 1, slices, threads, evaluate=False, tiny=tiny)
            for m in methods
        ]
        return {row["method"]: row for row in side_by_side(train, made)}

    small = [runs(True, seed) for seed in range(repeats)]
    large = [runs(False, seed) for seed in range(repeats)]
    differ = max(_difference(found) for found in [*small, *large])
    if differ > 1e-5:
        raise RuntimeError(f"with and without the adapter losses differ by {differ}: not the same batches.")
    return {
        "rows": rows,
        "repeats": repeats,
        "losses_compared": NOTED,
        "losses_differ_by": differ,
        "alone": compared(small, STOCK, "full"),
        "encoder": compared(large, STOCK, "full"),
        "narrowed": compared(large, "full", NARROWED) | {"promised": 1 - large[0][NARROWED]["cost_share"]},
        "parts": parts(Run("cola", STOCK, 0, folder, model, 640, 1, 1, threads, evaluate=False)),
    }


def _difference(found: dict[str, Row]) -> float:
    """The largest difference between the first losses of the bare Trainer and those of `full`."""
    pairs = zip(found[STOCK]["losses"], found["full"]["losses"], strict=True)
    return max(abs(a - b) for a, b in pairs)


def compared(repeats: list[dict[str, Row]], base: str, other: str) -> Row:
    """Seconds of a step of each, and their difference step by step, by the wall and the CPU clock."""
    found: Row = {"steps": 0}
    for i, clock in enumerate(("wall", "cpu")):
        pairs = [
            (a[i], b[i])
            for row in repeats
            for a, b in zip(
                row[base]["step_seconds"][FIRST:], row[other]["step_seconds"][FIRST:], strict=True
            )
        ]
        found["steps"] = len(pairs)
        found[clock] = _summary(pairs)
    return found


def _summary(pairs: Pairs) -> Row:
    differences = sorted(b - a for a, b in pairs)
    n = len(differences)
    # The 95 % interval of a median: the order statistics 0.98 sqrt(n) places below and above it.
    reach = 0.98 * n**0.5
    low, high = differences[max(0, int(n / 2 - reach))], differences[min(n - 1, int(n / 2 + reach))]
    return {
        "base": statistics.median(a for a, _ in pairs),
        "other": statistics.median(b for _, b in pairs),
        "difference": statistics.median(differences),
        "low": low,
        "high": high,
    }


def parts(run: Run, batches: int = 12) -> Row:
    """Median milliseconds of the parts of a step: all 32 rows, the 8 chosen rows, scoring, the update."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = built(run, folder)
    model, rows = trainer.model, trainer.train_dataset
    optimizer = trainer.create_optimizer()
    found: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        begun = time.process_time()
        result = work()
        found.setdefault(name, []).append(1000 * (time.process_time() - begun))
        return result

    def update() -> None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    for i in range(batches):
        data = dict(trainer.data_collator([rows[j] for j in range(i * BATCH, (i + 1) * BATCH)]))
        for count in (BATCH, BATCH // 4):
            # Chosen rows keep the padded width of their batch.
            chosen = {name: values[:count] for name, values in data.items()}
            model.train()
            loss = timed(f"forward, {count} rows", partial(_loss, model, chosen))
            timed(f"backward, {count} rows", loss.backward)
        model.eval()
        with torch.no_grad():
            timed("scoring forward", partial(_loss, model, data))
        timed("clipping and update", update)
    return {name: statistics.median(seconds[2:]) for name, seconds in found.items()}


def _loss(model: torch.nn.Module, data: dict[str, torch.Tensor]) -> torch.Tensor:
    loss: torch.Tensor = model(**data).loss
    return loss
