"""A coreset that was chosen before: the picker of `fixed`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from samplewise.pickers.base import Picked, Picker, Pool
from samplewise.subset import Subset

__all__ = ["Given"]


@dataclass(frozen=True)
class Given(Picker):
    """The samples of a `Subset`, with its weights."""

    subset: Subset

    def __post_init__(self) -> None:
        if not len(self.subset):
            raise ValueError("a subset to train on needs at least one id, got none.")

    def size(self, m: int, least: int = 0) -> tuple[int, bool]:
        return len(self.subset), True

    def pick(self, pool: Pool) -> Picked:
        return Picked(self.subset.ids, self.subset.weights)

    def chosen(self, weights: str | None = None, **wanted: Any) -> Subset:
        """The subset itself, without its weights for `weights="none"`."""
        asked = [name for name, value in wanted.items() if value is not None]
        if asked or weights not in (None, "none"):
            raise ValueError(
                f"a fixed subset is as it is: {', '.join(asked) or 'weights'} cannot be asked of it."
            )
        return replace(self.subset, weights=None) if weights == "none" else self.subset

    def check_fits(self, n: int, fingerprint: Callable[[], str | None]) -> None:
        """Refuse a subset of other data: another n, ids beyond it, another fingerprint."""
        said = self.subset.provenance
        if (made_for := said.get("n", n)) != n:
            raise ValueError(f"the subset was chosen from {made_for} samples, but this data set has {n}.")
        if (last := int(self.subset.ids[-1])) >= n:
            raise ValueError(f"the subset holds id {last}, but this data set has {n} samples.")
        if said.get("fingerprint") is None or (found := fingerprint()) is None:
            return
        if found != said["fingerprint"]:
            raise ValueError(
                "the subset was chosen from other data: the fingerprints differ (n, labels and the bytes of "
                "256 samples). Labels count: those given to one Selector belong to the other, and another "
                "seed's label noise is other data. If this data set is augmented at random, give "
                "Scoring(dataset=...) with the same samples as they are."
            )
