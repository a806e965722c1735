"""Some samples in every choice, and random others that change from choice to choice."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from samplewise.checks import checked
from samplewise.data.fits import refuse_other_data
from samplewise.pickers import ranking
from samplewise.pickers.base import Budgeted, Counts, Keep, Picker, Pool, Rows
from samplewise.schedules import Schedule
from samplewise.subset import Subset

__all__ = ["Always"]


@checked
@dataclass(frozen=True)
class Always(Budgeted):
    """The samples of a `Subset` in every choice, and uniform draws from all others up to `keep`.

    The subset has no weights. Its ids are ids of the data set, so it chooses from all samples only, and not
    inside classes or batches.
    """

    subset: Subset
    keep: Keep
    random: ClassVar[bool] = True
    counts: ClassVar[Counts] = "size"  # it has no form by class, which `exact` would promise

    def __post_init__(self) -> None:
        if isinstance(self.subset, Subset) and self.subset.weights is not None:
            raise ValueError(
                "Always.subset must have no weights, because the drawn samples have none. Choose it with "
                "subset(weights='none')."
            )

    @property
    def provenance(self) -> Mapping[str, Any]:
        return self.subset.provenance

    def balanced(self, by_class: bool) -> Picker:
        if by_class:
            raise ValueError(
                "Always cannot choose inside each class. Choose its subset inside each class instead."
            )
        return self

    def check_fits(self, n: int, fingerprint: Callable[[], str | None]) -> None:
        hint = "Choose a subset of these samples."
        if len(self.subset):
            made_from = "the subset was chosen from"
            refuse_other_data(made_from, self.subset.ids, self.subset.provenance, n, fingerprint, hint)
        if not isinstance(self.keep, Schedule):
            self._refuse_large(n, self.size(n)[0])

    def take(self, pool: Pool, k: int) -> Rows:
        self._refuse_large(pool.m, k)
        chosen = np.zeros(pool.m, dtype=bool)
        chosen[self.subset.ids.numpy()] = True
        others = np.flatnonzero(~chosen)
        drawn = ranking.uniform(len(others), k - len(self.subset), pool.rng)
        chosen[others[drawn.numpy()]] = True
        return torch.from_numpy(np.flatnonzero(chosen))

    def _refuse_large(self, n: int, k: int) -> None:
        if len(self.subset) > k:
            raise ValueError(
                f"Always.keep must keep at least the {len(self.subset)} samples of the subset, got {k} of "
                f"{n} samples. Give a larger keep, or a smaller subset."
            )
