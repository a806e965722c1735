"""Batches of what is learnable and not yet learnt (RHO-LOSS, arXiv:2206.07137)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch

from samplewise import pickers, signals, trackers
from samplewise.checks import Range
from samplewise.coresets.table import ScoreTable
from samplewise.files.columns import naming
from samplewise.pickers import Keep
from samplewise.policy import Policy, recipe
from samplewise.schedules import Schedule
from samplewise.subset import Subset
from samplewise.trackers import IrreducibleLosses

__all__ = ["irreducible_losses", "rho_loss"]

COLUMN = "irreducible"
"""The column of a table of irreducible losses, and what its cost goes by in the provenance."""


def _toy(n: int) -> Any:
    ids = torch.arange(n)
    return rho_loss(IrreducibleLosses(ids, 0.5 + torch.sin(ids.float()), {"n": n, "fit": "cross"}), keep=0.25)


@recipe(paper="arXiv:2206.07137", level="batch", source="training", toy=_toy)
def rho_loss(
    irreducible: IrreducibleLosses | ScoreTable | str | Path | None = None,
    keep: Keep = 0.1,
    variant: Literal["top", "softmax"] = "top",
    temperature: Annotated[float | Schedule, Range(0, open_low=True)] = 0.25,
) -> Policy:
    """Back-propagate the rows of every meta-batch whose loss is the furthest above their irreducible loss.

    The irreducible loss of a sample is what a model that never saw it loses on it; it is computed once,
    by `samplewise score --method irreducible`, and given as the file or the table. Where it was made
    with fit="holdout" the samples that its model was trained on never train: n in every budget is the
    rest. `variant="softmax"` draws without replacement, P ~ exp(score / temperature), in place of the
    highest. The model scores in train mode, as in the official code (its buffers are put back), unless
    `Selector(scoring=...)` is given. What computing the irreducible losses cost is charged to the ledger.

    Signal: loss. Memory: 8 bytes a sample. Choice: top-k or weighted draw.
    Cost: one scoring forward over every meta-batch.
    """
    losses = irreducible_losses(irreducible)
    held_out = losses.held_out
    rest = None
    if len(held_out):
        rest = pickers.Given(Subset(losses.ids[~losses.values.isnan()], provenance={"n": _n(losses)}))
    shown = {} if isinstance(irreducible, str | Path) else {"irreducible": losses}
    return Policy(
        signal=signals.loss,
        tracker=trackers.Reducible(losses),
        picker=rest,
        batch_picker=pickers.TopK(keep) if variant == "top" else pickers.Boltzmann(keep, temperature),
        source="training",
        mode="train",
        params=shown,
    )


def irreducible_losses(given: IrreducibleLosses | ScoreTable | str | Path | None) -> IrreducibleLosses:
    """Irreducible losses out of a table, or out of the Parquet file of one, with a column `irreducible`.

    Raises:
        ValueError: where there is no table or it has no such column; for what `IrreducibleLosses` refuses.
    """
    if given is None:
        raise ValueError(
            "rho_loss needs irreducible losses. Compute them once, with the --data, --limit and "
            "--label-noise of this training: samplewise score --method irreducible --out il.parquet. Then "
            "give rho_loss:irreducible=il.parquet, in Python sw.recipes.rho_loss('il.parquet')."
        )
    if isinstance(given, IrreducibleLosses):
        return given
    if isinstance(given, str | Path):
        table = ScoreTable.read(given)
        with naming(given):
            return irreducible_losses(table)
    table = given
    if not isinstance(table, ScoreTable):
        raise ValueError(
            "rho_loss.irreducible must be a ScoreTable with a column 'irreducible', or the path of one, got "
            f"a {type(given).__name__}."
        )
    if COLUMN not in table.columns:
        raise ValueError(
            f"irreducible losses are in a column {COLUMN!r}, but the columns are "
            f"{', '.join(table.columns) or 'none'}. samplewise score --method irreducible writes one."
        )
    provenance: Mapping[str, Any] = dict(table.provenance)
    scoring = provenance.get("scoring") or {}
    return IrreducibleLosses(table.ids, table[COLUMN].float(), {**provenance, "scoring": scoring.get(COLUMN)})


def _n(losses: IrreducibleLosses) -> int:
    return int(losses.provenance.get("n", len(losses)))
