"""Whether something that was made from one data set belongs to this one."""

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
    """Raise for another n, an id beyond n, or another fingerprint.

    Args:
        made_from: begins the errors, such as "the subset was chosen from".
        ids: ascending.
        provenance: `n` and `fingerprint` of the data that it was made from, if known.
        n: the number of samples here.
        fingerprint: computes the one of these samples; None if it cannot be computed.
        hint: what to do about another n or another id.
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
            f"{made_from} other data: the fingerprints differ (n, labels and the bytes of 256 samples). Give "
            "the same labels and the same seed of label noise. If this data set is augmented at random, give "
            "Scoring(dataset=...) with the same samples without augmentation."
        )
