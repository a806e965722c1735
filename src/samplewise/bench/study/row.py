"""The row of a finished run of a study, whatever it trained."""

from typing import Any

from samplewise.bench import machine

__all__ = ["row_of"]


def row_of(run: Any, scoring: float, device: str) -> dict[str, Any]:
    """The row of a finished run. The model is tested as it is, and as it was after its best epoch.

    Args:
        run: a `bench.train.Run` or a `bench.text.run.TextRun` that has finished.
        scoring: seconds of its scoring run.
        device: where it trained.
    """
    curve, best, clock = run.curve, run.best, "cpu_seconds"
    if best is None:
        raise ValueError("a study needs data with a validation split.")
    judged = f"validation_{run.task.best_by}"
    ledger, last = run.selector.ledger, curve[-1]
    row = {
        "n": len(run.task.data),
        "batch_size": run.task.settings.batch_size,
        "cost": ledger.cost,
        "cost_without_scoring": ledger.cost_without_scoring,
        "seconds": last[clock] + scoring,
        "seconds_without_scoring": last[clock],
        "wall": ledger.wall,
        "overhead": ledger.overhead,
        "samples_backpropagated": ledger.samples_backpropagated,
        "validation": run.evaluate("validation"),
        "test": run.evaluate("test"),
        "curve": [
            [point["epoch"], point["cost"], point[clock] + scoring, point[judged]]
            for point in curve
            if judged in point
        ],
        "machine": machine.machine(device) | machine.versions(),
    }
    if ledger.tokens:
        row |= {"tokens": ledger.tokens, "tokens_trained": ledger.tokens_trained}
    chosen = next(point for point in curve if point["epoch"] == best.epoch)
    if best.epoch != last["epoch"]:
        run.model.load_state_dict(best.weights)
    row["best"] = {
        "epoch": best.epoch,
        "cost": chosen["cost"],
        "seconds": chosen[clock] + scoring,
        "validation": best.found,
        "test": row["test"] if best.epoch == last["epoch"] else run.evaluate("test"),
    }
    return row
