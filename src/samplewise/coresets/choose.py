"""Choose a coreset by final scores: one function for the engine and for tables of scores."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from samplewise.checks import Range, check_arguments
from samplewise.pickers import Picker, Pool, ranking
from samplewise.policy import Policy, Weighting
from samplewise.rng import generator
from samplewise.subset import Subset

__all__ = ["adjusted", "choose", "ranked_column", "refuse_early", "refuse_weights", "unchanged"]


def choose(
    policy: Policy,
    name: str,
    columns: Mapping[str, Tensor],
    n: int,
    labels: Int[Tensor, " n"] | None,
    seed: int,
    keep: Annotated[float | None, Range(0, 1, open_low=True)] = None,
    balance: bool | None = None,
    weights: Weighting | Literal["raw"] | None = None,
    normalize: Literal["mean1"] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Subset:
    """The coreset that a static policy makes of its final columns.

    Args:
        policy: a policy of level `static`.
        name: its name in errors: that of the policy, or of its column in a table.
        columns: n rows each, vectors too, under the names that its tracker and picker give them.
        n: how many samples there are.
        labels: class numbers, needed for `balance`.
        seed: of the draws, if the choice is random.
        keep: the share kept; None: the policy's own.
        balance: choose inside each class; None: as the policy says.
        weights: importance weights: the ranked score, min-max over all n (`per_sample`, `batch_mean`) or as
            it is (`raw`), or all 1 (`none`); None: the policy's own.
        normalize: "mean1" divides the weights by their mean over the subset.
        provenance: the origin of the scores. The choice adds its own part to a copy.

    Raises:
        ValueError: for samples that were never observed, a class left without a sample under
            `balance`, or weights that these scores cannot give.
    """
    given = {"keep": keep, "balance": balance, "weights": weights, "normalize": normalize}
    check_arguments("subset", choose, given)
    picker, by_class = adjusted(policy, name, keep, balance)
    share = picker.share
    wanted = weights or policy.weighting
    ids, chosen = torch.arange(n), None
    if share == 1:
        wanted = "none"
    else:
        ranks = ranked_column(policy)
        _refuse_unobserved(columns, ranks, name)
        if wanted != "none":
            refuse_weights(policy, name)
        if by_class:
            _refuse_empty_classes(labels, n, share, name)
        pool = Pool(n, generator(seed, "subset"), columns, ranks, labels=labels)
        rows, own = (picker.rows(pool), None) if weights == "none" else picker.pick(pool)[:2]
        ids = ids if rows is None else rows
        if wanted != "none":
            if own is not None:
                raise ValueError(
                    f"{name} computes its own weights: leave weights out, or use weights='none'."
                )
            chosen = _importance(columns[str(ranks)].double(), name, wanted == "raw")[ids]
        elif weights is None:
            chosen = own
    if chosen is not None and normalize is not None:
        chosen = (chosen.double() / chosen.double().mean()).float()
    said = {
        "recipe": policy.name,
        "policy": repr(policy),
        "keep": share,
        "k": len(ids),
        "n": n,
        "balance": by_class,
        "weights": "own" if chosen is not None and wanted == "none" else wanted,
        "normalize": None if chosen is None else normalize,
    }
    weighting: Literal["per_sample", "batch_mean"] = "batch_mean" if wanted == "batch_mean" else "per_sample"
    return Subset(ids, chosen, {**(provenance or {}), **said}, weighting)


def refuse_early(policy: Policy, name: str, n: int, labels: Int[Tensor, " n"] | None) -> None:
    """Raise for settings that fail for any scores, such as a class that is left without a sample."""
    picker = policy.picker
    if picker is None or picker.share == 1:
        return
    picker.refuse(n)
    if picker.by_class and labels is not None:
        _refuse_empty_classes(labels, n, picker.share, name)


def unchanged(subset: Subset, weights: Weighting | Literal["raw"] | None = None, **wanted: Any) -> Subset:
    """A coreset that was chosen before, without its weights for `weights="none"`."""
    asked = [name for name, value in wanted.items() if value is not None]
    asked += ["weights"] * (weights not in (None, "none"))
    if asked:
        raise ValueError(f"a fixed subset cannot be chosen again: leave out {', '.join(asked)}.")
    return replace(subset, weights=None) if weights == "none" else subset


def ranked_column(policy: Policy) -> str | None:
    """The column that a static policy's coreset is ranked by; None if it needs no score."""
    picker = policy.picker
    return (None if picker is None else picker.ranks or picker.by) or policy.ranks


def refuse_weights(policy: Policy, name: str) -> None:
    """Raise unless the column that a policy ranks by can be made into importance weights."""
    if ranked_column(policy) in (None, "order", "rank"):
        raise ValueError(
            f"{name} has no scores, or only an order, so it gives no importance weights. "
            "Leave weights out, or use weights='none'."
        )


def adjusted(policy: Policy, name: str, keep: float | None, balance: bool | None) -> tuple[Picker, bool]:
    """The policy's picker with this share, and whether it chooses inside each class."""
    picker = policy.picker
    if picker is None:
        raise ValueError(f"{name} has no picker, so it makes no subset. Use a method such as el2n.")
    if keep is not None:
        if picker.keeps is None:
            raise ValueError(f"{name} takes no keep: it does not choose a share. Leave keep out.")
        picker = picker.with_keep(keep)
    by_class = picker.by_class if balance is None else balance
    return picker.balanced(by_class), by_class


def _refuse_unobserved(columns: Mapping[str, Tensor], ranks: str | None, name: str) -> None:
    if ranks is None or ranks not in columns:
        return
    missing = int(columns[ranks].isnan().sum())
    if missing:
        raise ValueError(
            f"{missing} of {len(columns[ranks])} samples were never observed, so {name} cannot rank them. "
            "Record every sample: drop_last=False, and no other selection while scores are recorded."
        )


def _refuse_empty_classes(labels: Tensor | None, n: int, keep: float, name: str) -> None:
    """Every class must get at least one place under `balance`."""
    if labels is None:
        raise ValueError(
            f"balance=True needs labels, but {name} was recorded without labels. Give Selector(labels=...)."
        )
    sizes = labels.bincount()

    def empty(share: float) -> Tensor:
        return (ranking.largest_remainder(ranking.budget(n, share), sizes) == 0) & (sizes > 0)

    left = empty(keep).nonzero().flatten().tolist()
    if not left:
        return
    low, high = 0, 10_000
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if bool(empty(middle / 10_000).any()) else (low, middle)
    listed = ", ".join(f"{c} ({int(sizes[c])} samples)" for c in left[:8]) + ", ..." * (len(left) > 8)
    raise ValueError(
        f"keep={keep:g} with balance=True keeps {ranking.budget(n, keep)} of {n} samples, and none of class "
        f"{listed}. keep={high / 10_000:g} is enough for every class."
    )


def _importance(scores: Float[Tensor, " n"], name: str, raw: bool) -> Float[Tensor, " n"]:
    """The ranked score, min-max over all n or `raw`; a 0 becomes the smallest positive weight."""
    if odd := int((~scores.isfinite()).sum()):
        raise ValueError(
            f"importance weights need finite scores, but {odd} of {len(scores)} of {name} are not. "
            "Use weights='none'."
        )
    low, high = scores.min(), scores.max()
    if low == high and not (raw and low > 0):
        return torch.ones(len(scores))
    if raw and low < 0:
        raise ValueError(
            f"weights='raw' needs scores of at least 0, but the lowest of {name} is {low:g}. Use "
            "weights='per_sample', which scales them to [0, 1]."
        )
    weights = (scores if raw else (scores - low) / (high - low)).float()
    return torch.where(weights > 0, weights, weights[weights > 0].min())
