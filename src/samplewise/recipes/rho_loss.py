"""RHO-LOSS: batches of samples that can be learned and are not yet learned (arXiv:2206.07137)."""

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
from samplewise.tokens import ReferenceLosses
from samplewise.tokens.stored import holds_tokens
from samplewise.trackers import IrreducibleLosses

__all__ = ["irreducible_losses", "rho_loss"]

COLUMN = "irreducible"
"""The name of the column in a table of irreducible losses, and of its cost in the provenance."""


def _toy(n: int) -> Any:
    ids = torch.arange(n)
    return rho_loss(IrreducibleLosses(ids, 0.5 + torch.sin(ids.float()), {"n": n, "fit": "cross"}), keep=0.25)


@recipe(paper="arXiv:2206.07137", level="batch", source="training", toy=_toy)
def rho_loss(
    irreducible: IrreducibleLosses | ScoreTable | ReferenceLosses | str | Path | None = None,
    keep: Keep = 0.1,
    variant: Literal["top", "softmax"] = "top",
    temperature: Annotated[float | Schedule, Range(0, open_low=True)] = 0.25,
) -> Policy:
    """Back-propagate the rows of every meta-batch whose loss exceeds their irreducible loss the most.

    The irreducible loss of a sample is its loss under a model that was not trained on it. Compute it once
    with `samplewise score --method irreducible`, and give the file or the table. For a language model, give
    the file of `sw.reference_losses` of such a model: the loss of a row is the mean over its tokens. With
    fit="holdout" that model was trained on a part of the data. These samples never train here, and budgets
    count only the other samples. `variant="softmax"` draws rows without replacement, P ~ exp(score /
    temperature), instead of taking the highest scores.

    The model scores in train mode, as in the official code, unless `Selector(scoring=...)` is given. Its
    buffers are restored afterwards. The cost of computing the irreducible losses is charged to the ledger.

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


def irreducible_losses(
    given: IrreducibleLosses | ScoreTable | ReferenceLosses | str | Path | None,
) -> IrreducibleLosses:
    """Read irreducible losses from a table, or from the Parquet file of a table, with a column `irreducible`.

    Stored losses of every token give the mean of each row.

    Raises:
        ValueError: if nothing was given, the column is missing, or `IrreducibleLosses` refuses the values.
    """
    if given is None:
        raise ValueError(
            "rho_loss needs irreducible losses. First compute them, with the same --data, --limit and "
            "--label-noise as this training: samplewise score --method irreducible --out il.parquet. Then "
            "use --method rho_loss:irreducible=il.parquet, or in Python sw.recipes.rho_loss('il.parquet')."
        )
    if isinstance(given, IrreducibleLosses):
        return given
    if isinstance(given, ReferenceLosses):
        return IrreducibleLosses(torch.arange(len(given)), given.row_means(), dict(given.provenance))
    if isinstance(given, str | Path) and holds_tokens(given):
        return irreducible_losses(ReferenceLosses.read(given))
    if isinstance(given, str | Path):
        table = ScoreTable.read(given)
        with naming(given):
            return irreducible_losses(table)
    table = given
    if not isinstance(table, ScoreTable):
        raise ValueError(
            "rho_loss.irreducible must be a ScoreTable with a column 'irreducible', or a path to it, got "
            f"a {type(given).__name__}."
        )
    if COLUMN not in table.columns:
        raise ValueError(
            f"rho_loss.irreducible must be a table with a column {COLUMN!r}, got the columns "
            f"{', '.join(table.columns) or 'none'}. samplewise score --method irreducible writes that column."
        )
    provenance: Mapping[str, Any] = dict(table.provenance)
    scoring = provenance.get("scoring") or {}
    return IrreducibleLosses(table.ids, table[COLUMN].float(), {**provenance, "scoring": scoring.get(COLUMN)})


def _n(losses: IrreducibleLosses) -> int:
    return int(losses.provenance.get("n", len(losses)))
