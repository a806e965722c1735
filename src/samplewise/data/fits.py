"""Checking that a subset or table was made from this data set."""

from collections.abc import Callable, Mapping
from typing import Any

from jaxtyping import Int
from torch import Tensor

__all__ = ["refuse_other_data"]


def refuse_other_data(
    made_from: str,
    ids: Int[Tensor, " k"],
    provenance: Mapping[str, Any],
    n: int,
    fingerprint: Callable[[], str | None],
    hint: str,
) -> None:
    """Raise if n or the fingerprint differs, or if an id is not in [0, n).

    Args:
        made_from: the start of the errors, such as "the subset was chosen from".
        ids: the ids of the subset or table, in ascending order.
        provenance: `n` and `fingerprint` of the original data, if known.
        n: the number of samples of this data set.
        fingerprint: computes the fingerprint of this data set. It returns None if that is not possible.
        hint: what to do if n or an id does not fit.
    """
    made_for = provenance.get("n", n)
    if made_for != n:
        raise ValueError(f"{made_from} {made_for} samples, but this data set has {n}. {hint}")
    if (last := int(ids[-1])) >= n:
        raise ValueError(f"{made_from} data with id {last}, but this data set has {n} samples. {hint}")
    if provenance.get("fingerprint") is None or (found := fingerprint()) is None:
        return
    if found != provenance["fingerprint"]:
        raise ValueError(
            f"{made_from} other data: the fingerprints differ (n, labels and the bytes of 256 samples). Use "
            "the same labels and the same seed of label noise. If this data set has random augmentation, set "
            "Scoring(dataset=...) to the same samples without augmentation."
        )
