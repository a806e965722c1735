"""Which samples are shown: the hardest, those never used, and those whose label may be wrong."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64

from samplewise.analysis.label_errors import Suspects, suspected_label_errors
from samplewise.coresets.table import ScoreTable
from samplewise.rng import generator

__all__ = ["EACH", "Pick", "main_column", "picks", "suspects"]

EACH = 12
"""Samples of each kind that are shown."""
_TELLS_LABELS = ("aum", "el2n", "forgetting", "loss")
"""Columns that rank wrong labels well, the best first; else the main score."""

_DOUBT = "A hard sample with a right label is here, too: look before you act."


@dataclass(frozen=True)
class Pick:
    """Samples of one kind.

    Attributes:
        title: the kind.
        said: how they were found, in a sentence.
        at: their positions in the table.
        values: what ranks them, for each; empty: nothing does.
        name: of what ranks them.
    """

    title: str
    said: str
    at: Int64[np.ndarray, " k"]
    values: Sequence[float] = ()
    name: str = ""


def main_column(table: ScoreTable) -> str | None:
    """The score that a table is about: of its static method, or the first one; None: it has no number."""
    methods = table.provenance.get("methods", {})
    for name in (*(name for name in methods if name in table.columns), *table.columns):
        values = table.columns[name]
        if len(values) and not bool(values.double().isnan().all()):
            return str(name)
    return None


def suspects(table: ScoreTable, predicts: bool) -> Suspects | None:
    """The samples ranked by how likely their label is wrong; None without labels or scores.

    Args:
        table: of a run.
        predicts: whether its model predicts the labels. Sources of texts are predicted by none: None.
    """
    main = main_column(table)
    if table.labels is None or main is None or not predicts:
        return None
    seen = [name for name in _TELLS_LABELS if name in table.columns]
    usable = [name for name in seen if not bool(table.columns[name].double().isnan().all())]
    return suspected_label_errors(table, [*usable, main][0])


def picks(table: ScoreTable, predicts: bool, each: int = EACH) -> list[Pick]:
    """The samples to show, by kind. A kind that has no sample is left out.

    Args:
        table: of a run.
        predicts: whether its model predicts the labels.
        each: the most samples of a kind.
    """
    found = []
    main, ranking = main_column(table), suspects(table, predicts)
    both = ranking is not None and ranking.name == main and not ranking.lowest
    if main is not None:
        values = table.columns[main].double()
        top = values.nan_to_num(nan=-np.inf).topk(min(each, len(values)))
        at = top.indices[top.values > -np.inf].numpy()
        title = "Hardest, and suspected wrong labels" if both else "Hardest"
        said = f"The highest {main}." + f" {_DOUBT}" * both
        found.append(Pick(title, said, at, values[at].tolist(), main))
    never = np.flatnonzero(table.times_selected.numpy() == 0)
    if len(never):
        drawn = torch.randperm(len(never), generator=generator(0, "report never"))[:each].numpy()
        said = f"{len(never):,} of {len(table):,} samples were never selected."
        said += f" {len(drawn)} of them, drawn at random." * (len(never) > each)
        found.append(Pick("Never used", said, np.sort(never[drawn])))
    if ranking is not None and not both:
        at = np.searchsorted(table.ids.numpy(), ranking.ids[:each].numpy())
        known = ranking.scores[:each].isfinite().numpy()
        which = "lowest" if ranking.lowest else "highest"
        said = f"The {which} {ranking.name}. {_DOUBT}"
        column = table.columns[ranking.name].double()
        values_of = column[torch.from_numpy(at)][torch.from_numpy(known)].tolist()
        found.append(Pick("Suspected wrong labels", said, at[known], values_of, ranking.name))
    return found
