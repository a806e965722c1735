"""What a run says of itself after an epoch and at its end, whatever it trains."""

from collections.abc import Mapping
from typing import Any

from samplewise.cost.ledger import Ledger

__all__ = ["epoch_row", "finished_row"]


def epoch_row(
    about: Mapping[str, Any], split: str, found: Mapping[str, float], ledger: Ledger, cpu: float
) -> dict[str, Any]:
    """A row of the curve.

    Args:
        about: the method, the seed, the epoch and the epochs of the run.
        split: on which the model was tested.
        found: its results there.
        ledger: of the run.
        cpu: the seconds of training so far, by `machine.clock`.
    """
    return {
        **about,
        **{f"{split}_{name}": value for name, value in found.items()},
        "samples_backpropagated": ledger.samples_backpropagated,
        "training_forwards": ledger.training_forwards,
        "scoring_forwards": ledger.scoring_forwards,
        "proxy_scoring_forwards": ledger.proxy_scoring_forwards,
        "proxy_share": ledger.proxy_share,
        "cost": ledger.cost,
        "cost_share": ledger.cost_share,
        "seconds": ledger.wall,
        "cpu_seconds": cpu,
        "cost_without_scoring": ledger.cost_without_scoring,
        "seconds_without_scoring": ledger.wall_without_scoring,
    }


def finished_row(curve: list[dict[str, Any]], metric: str, n: int, ledger: Ledger) -> dict[str, Any]:
    """The row of a finished run: its last epoch, its savings, and the seconds of each stage.

    Args:
        curve: the rows of its epochs.
        metric: the result whose best value is in the row.
        n: its training samples.
        ledger: of the run.
    """
    return (
        curve[-1]
        | {
            "n": n,
            f"best_{metric}": (min if metric == "loss" else max)(row[f"test_{metric}"] for row in curve),
            "promised": ledger.promised,
            "realised": ledger.realised,
            "baseline": ledger.baseline,
            "overhead": ledger.overhead,
        }
        | {f"seconds_{stage}": spent for stage, spent in ledger.seconds.items()}
        | ({} if (energy := ledger.energy_joules) is None else {"energy_joules": energy})
    )
