"""`Explanation`: why a static method kept or dropped a sample."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from samplewise.coresets.choose import adjusted, ranked_column
from samplewise.pickers import Pool
from samplewise.pickers.base import Around, Budgeted, inside
from samplewise.policy import Policy
from samplewise.rng import generator
from samplewise.subset import Subset

__all__ = ["Explanation", "explain"]

_NOT_SCORES = ("order", "rank")
"""Columns that say in which order samples are picked."""


@dataclass(frozen=True)
class Explanation:
    """Why a sample was kept or dropped. `print` shows it in words.

    Args:
        id: the sample.
        method: that chose.
        kept: whether it was kept.
        score: its score; None if the method keeps none.
        rank: its place by score among the `of` samples that it competes with, 1 for the highest.
        percentile: the percent of these samples whose score is lower; equal ones count half.
        threshold: the lowest score that was kept among them.
        of: how many samples it competes with: all, or those of its class.
        places: how many of them are kept.
        label: its class number, if it is known.
        by_class: whether the choice is made inside each class.
        weight: in training; None if it was dropped.
        reason: how the method decides, in words.
    """

    id: int
    method: str
    kept: bool
    score: float | None
    rank: int | None
    percentile: float | None
    threshold: float | None
    of: int
    places: int
    label: int | None
    by_class: bool
    weight: float | None
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """All fields and the text, as plain values."""
        return asdict(self) | {"text": str(self)}

    def __str__(self) -> str:
        said = [f"Sample {self.id} is {'kept' if self.kept else 'dropped'} by {self.method}."]
        if self.by_class:
            said.append(
                f"The choice is made inside each class: class {self.label} has {self.of:,} samples and "
                f"{self.places:,} places."
            )
        else:
            of_class = "" if self.label is None else f" Its class is {self.label}."
            said.append(f"{self.places:,} of {self.of:,} samples are kept.{of_class}")
        if self.score is not None:
            place = "" if self.rank is None else f", rank {self.rank:,} of {self.of:,} from the highest"
            lower = "" if self.percentile is None else f" ({self.percentile:.1f} % are lower)"
            said.append(f"Its score is {self.score:.6g}{place}{lower}.")
        said.append(self.reason)
        if self.weight is not None:
            said.append(f"Its weight in training is {self.weight:.6g}.")
        return " ".join(filter(None, said))


def explain(
    id: int,
    policy: Policy,
    name: str,
    columns: Mapping[str, Tensor],
    labels: Int[Tensor, " n"] | None,
    n: int,
    subset: Subset,
) -> Explanation:
    """Explain the place of one sample in a coreset that `choose` made.

    Args:
        id: the sample.
        policy: of level `static`.
        name: its name.
        columns: as `choose` got them.
        labels: class numbers.
        n: how many samples there are.
        subset: what was chosen. Its provenance has the share, the seed and whether classes were balanced.

    Raises:
        ValueError: if there is no such sample.
    """
    if not 0 <= id < n:
        raise ValueError(f"the sample to explain must be an id from 0 to {n - 1}, got {id}.")
    said = subset.provenance
    picker, by_class = adjusted(policy, name, float(said["keep"]), bool(said["balance"]))
    column = ranked_column(policy)
    place = int(torch.searchsorted(subset.ids, id))
    kept = place < len(subset) and int(subset.ids[place]) == id
    weight = 1.0 if subset.weights is None else float(subset.weights[place]) if kept else None
    label = None if labels is None else int(labels[id])
    rows = torch.arange(n)
    if labels is not None and by_class:
        rows = torch.eq(labels, labels[id]).nonzero().flatten()
    chosen = torch.isin(rows, subset.ids)
    row = int(torch.searchsorted(rows, id))
    facts: dict[str, Any] = dict.fromkeys(("score", "rank", "percentile", "threshold"))
    if column is not None:
        scores = columns[column][rows].double()
        facts["score"] = float(scores[row])
        if column not in _NOT_SCORES:
            higher, equal = int((scores > scores[row]).sum()), int((scores == scores[row]).sum())
            facts["rank"] = 1 + higher
            facts["percentile"] = 100 * (len(rows) - higher - equal / 2 - 0.5) / max(1, len(rows) - 1)
            facts["threshold"] = float(scores[chosen].min()) if chosen.any() else None
        else:
            facts["score"] = None
    places = int(chosen.sum())
    reason = "All samples are kept."
    if len(subset) < n and isinstance(picker, Budgeted):
        pool = Pool(n, generator(int(said["draw_seed"]), "subset"), columns, column, labels=labels)
        if isinstance(picker, Around):
            reason = picker.inner.reason(inside(pool, rows), row, places)
        else:
            reason = picker.reason(pool, id, len(subset))
    return Explanation(
        id=id,
        method=name,
        kept=kept,
        of=len(rows),
        places=places,
        label=label,
        by_class=by_class,
        weight=weight if kept else None,
        reason=reason,
        **facts,
    )
