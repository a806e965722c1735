"""A picker inside each group of samples, and the share of the budget that each group gets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float64, Int, Int64
from torch import Tensor

from samplewise.pickers.base import Around, Budgeted, Picked, Picker, Pool, Rows, inside

__all__ = ["Membership", "Mixing", "PerGroup", "quotas"]

Shares = Float64[np.ndarray, " g"]
Sizes = Int64[np.ndarray, " g"]


class Membership:
    """Which group each of n samples is in: the names of the groups, and a number (n,) for each sample.

    Two are equal if all samples are in groups of the same names.
    """

    def __init__(self, names: Sequence[str], codes: Int[Tensor, " n"]) -> None:
        self.names, self.codes = tuple(names), codes
        self.sizes: Sizes = np.bincount(codes.numpy(), minlength=len(self.names))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Membership):
            return NotImplemented
        return self.names == other.names and torch.equal(self.codes, other.codes)

    def __hash__(self) -> int:
        return hash(self.names)

    def __repr__(self) -> str:
        return f"{len(self.names)} groups of {len(self.codes)} samples"


@dataclass(frozen=True)
class Mixing:
    """How the shares of the groups are found: see `sw.Groups`. `fixed` adds up to 1."""

    by: Literal["sizes", "fixed", "temperature", "online"] = "sizes"
    fixed: tuple[float, ...] = ()
    temperature: float = 1.0
    rate: float = 1.0
    explore: float = 0.1

    @property
    def follows_losses(self) -> bool:
        """Whether the shares change with the losses of the groups."""
        return self.by in ("temperature", "online")

    def weights(self, sizes: Sizes, losses: Shares, before: Shares | None) -> Shares:
        """What the shares are made of, (g,), positive, with sum 1.

        Args:
            sizes: the number of samples of each group.
            losses: their mean loss; NaN for a group of which nothing was observed.
            before: the weights of the last choice; None: there was none. Only `online` reads them.
        """
        prior: Shares = sizes / sizes.sum()
        if self.by == "fixed":
            return np.asarray(self.fixed)
        if self.by == "sizes" or np.isnan(losses).all():
            return prior if before is None or self.by != "online" else before
        known = np.where(np.isnan(losses), np.nanmean(losses), losses)
        if self.by == "temperature":
            logs = np.log(prior) + known / self.temperature
        else:
            logs = np.log(prior if before is None else before) + self.rate * known
        grown = np.exp(logs - logs.max())
        normed: Shares = np.maximum(grown / grown.sum(), np.finfo(np.float64).tiny)
        return normed

    def shares(self, weights: Shares, sizes: Sizes) -> Shares:
        """The shares of the budget, (g,), with sum 1."""
        if self.by != "online":
            return weights
        mixed: Shares = (1 - self.explore) * weights + self.explore * sizes / sizes.sum()
        return mixed


def quotas(k: int, shares: Shares, sizes: Sizes) -> Sizes:
    """Divide k among groups by largest remainder, with at most `sizes` for each.

    What a group is too small to take is divided among the others, in proportion to their shares. Equal
    remainders go to the group that comes first. The sum is exact: min(k, sum of `sizes`).

    >>> quotas(10, np.array([0.5, 0.3, 0.2]), np.array([2, 20, 20])).tolist()
    [2, 5, 3]
    """
    left, found = min(k, int(sizes.sum())), np.zeros(len(sizes), dtype=np.int64)
    open_ = sizes > 0
    while True:
        wanted = np.where(open_, shares, 0.0)
        wanted = left * wanted / max(wanted.sum(), np.finfo(np.float64).tiny)
        full = open_ & (wanted >= sizes)
        if not full.any():
            break
        found[full] = sizes[full]
        left -= int(sizes[full].sum())
        open_ &= ~full
    down = np.floor(wanted).astype(np.int64)
    # Equal remainders that differ by a rounding error are still equal.
    remainders = np.where(open_, np.round(wanted - down, 9), -1.0)
    down[np.argsort(-remainders, kind="stable")[: left - int(down.sum())]] += 1
    made: Sizes = found + down
    return made


@dataclass(frozen=True)
class PerGroup(Around):
    """Another picker inside each group. The total is that of the other picker, exactly.

    Over all samples the shares follow the losses that are remembered when it chooses. Inside batches they
    are those of the groups that the batch holds, and stay the same for an epoch.
    """

    grouped: ClassVar[bool] = True
    inner: Budgeted
    groups: Membership
    mixing: Mixing
    now: tuple[float, ...] | None = None
    """The weights of the open epoch, for choices inside batches."""

    @property
    def carries(self) -> bool:  # type: ignore[override]
        """Whether the shares change from choice to choice, or from epoch to epoch."""
        return self.mixing.follows_losses

    @property
    def by_class(self) -> bool:  # type: ignore[override]
        return self.inner.by_class

    def balanced(self, by_class: bool) -> Picker:
        inner = self.inner.balanced(by_class)
        return replace(self, inner=inner) if isinstance(inner, Budgeted) else inner

    def settle(self, state: dict[str, Tensor]) -> Picker:
        if not self.mixing.follows_losses:
            return self
        return replace(self, now=tuple(self._weights(state.get("loss"), None).tolist()))

    @property
    def settled(self) -> Mapping[str, float]:
        return {} if self.now is None else self._named(self.now)

    def settled_with(self, numbers: Mapping[str, float]) -> Picker:
        found = self._before(numbers)
        return self if found is None else replace(self, now=tuple(found.tolist()))

    def pick(self, pool: Pool) -> Picked:
        k, _ = self.size(pool.m, pool.least)
        if pool.ids is not None:
            return Picked() if k == pool.m else Picked(self.take(pool, k))
        weights = self._weights(pool.values.get("loss"), self._before(pool.notes))
        counts = self._quotas(pool.m, k, weights, self.groups.sizes)
        said = {
            **{
                f"share {name}": float(count) / k
                for name, count in zip(self.groups.names, counts, strict=True)
            },
            **self._carried(weights),
        }
        rows = None if k == pool.m else self._rows(pool, self.groups.codes, counts)
        return Picked(rows, notes=said)

    def take(self, pool: Pool, k: int) -> Rows:
        codes = self.groups.codes if pool.ids is None else self.groups.codes[pool.ids.cpu()]
        sizes = np.bincount(codes.numpy(), minlength=len(self.groups.names))
        weights = self._weights(None, None) if self.now is None else np.array(self.now)
        return self._rows(pool, codes, self._quotas(pool.m, k, weights, sizes))

    def columns(self, pool: Pool) -> dict[str, Tensor]:
        return self.inner.columns(pool)

    def _quotas(self, m: int, k: int, weights: Shares, sizes: Any) -> Sizes:
        return sizes if k == m else quotas(k, self.mixing.shares(weights, self.groups.sizes), sizes)

    def _rows(self, pool: Pool, codes: Int[Tensor, " m"], counts: Sizes) -> Rows:
        """The rows that the inner picker takes of every group, ascending."""
        found = []
        order = codes.argsort(stable=True)
        for members, count in zip(
            torch.split(order, codes.bincount(minlength=len(counts)).tolist()), counts, strict=True
        ):
            if count == len(members):
                found.append(members)
            elif count:
                there = inside(pool, members)
                if pool.labels is not None:
                    there = there._replace(labels=pool.labels[members])
                found.append(members[self.inner.take(there, int(count))])
        return torch.cat(found).sort().values

    def _weights(self, losses: Tensor | None, before: Shares | None) -> Shares:
        return self.mixing.weights(self.groups.sizes, self._means(losses), before)

    def _means(self, losses: Tensor | None) -> Shares:
        """The mean of the known losses of each group, (g,), in float64; NaN where there is none."""
        names = len(self.groups.names)
        if losses is None or not self.mixing.follows_losses:
            return np.full(names, np.nan)
        values, codes = losses.detach().cpu().double().numpy(), self.groups.codes.numpy()
        known = ~np.isnan(values)
        total = np.bincount(codes[known], values[known], minlength=names)
        count = np.bincount(codes[known], minlength=names)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def _carried(self, weights: Shares) -> dict[str, float]:
        """The weights as notes, if the next choice needs them."""
        return self._named(weights) if self.mixing.by == "online" else {}

    def _named(self, weights: Any) -> dict[str, float]:
        return {f"weight {name}": float(w) for name, w in zip(self.groups.names, weights, strict=True)}

    def _before(self, notes: Mapping[str, float]) -> Shares | None:
        """The weights that the last choice left."""
        names = [f"weight {name}" for name in self.groups.names]
        return np.array([notes[name] for name in names]) if names[0] in notes else None
