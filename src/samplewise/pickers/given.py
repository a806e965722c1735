"""A coreset that was chosen before: the picker of `fixed`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from samplewise.data.fits import refuse_other_data
from samplewise.pickers.base import Picked, Picker, Pool
from samplewise.subset import Subset

__all__ = ["Given"]


@dataclass(frozen=True)
class Given(Picker):
    """The samples of a `Subset`, with its weights."""

    subset: Subset

    def __post_init__(self) -> None:
        if not len(self.subset):
            raise ValueError(
                "a subset to train on needs at least one id, got none. Choose one with a larger keep."
            )

    @property
    def fixed_subset(self) -> Subset:
        return self.subset

    @property
    def own_weights(self) -> bool:  # type: ignore[override]
        """Whether the subset has weights."""
        return self.subset.weights is not None

    @property
    def provenance(self) -> Mapping[str, Any]:
        return self.subset.provenance

    def size(self, m: int, least: int = 0) -> tuple[int, bool]:
        return len(self.subset), True

    def pick(self, pool: Pool) -> Picked:
        return Picked(self.subset.ids, self.subset.weights)

    def check_fits(self, n: int, fingerprint: Callable[[], str | None]) -> None:
        subset, hint = self.subset, "Choose a subset of these samples."
        refuse_other_data("the subset was chosen from", subset.ids, subset.provenance, n, fingerprint, hint)
