"""Pickers that are greedy over vectors: herding, facility location, matching pursuit, class by class."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from samplewise import rng
from samplewise.checks import Range, checked
from samplewise.pickers import greedy
from samplewise.pickers.base import Budgeted, Keep, Picked, Picker, Pool, Rows
from samplewise.pickers.greedy import Groups

__all__ = ["FacilityLocation", "Greedy", "Herding", "MatchingPursuit"]

Block = Annotated[int, Range(2)]
Weights = Float[Tensor, " k"]


class _Run(NamedTuple):
    """Rows of the pool in the order of picking, over all classes, and their weights with mean 1."""

    order: Rows
    weights: Weights | None


class Greedy(Budgeted):
    """Picks one sample after the other by their vectors, inside each class.

    Classes are `pool.labels`, else the column `target`, else all samples are one class. With `across` all
    samples are one class in any case. The budget is divided by largest remainder. A pick depends only on the
    picks before it, so a column `order` of an earlier run gives every smaller share: 0 for the first pick,
    -1 for the second, -m for never.
    """

    keep: Keep
    ranks: ClassVar[str | None] = "order"
    makes: ClassVar[tuple[str, ...]] = ("order", "weight")
    needs: ClassVar[tuple[str, ...]]
    """The columns of vectors that it reads."""

    @property
    def largest(self) -> int | None:
        """The maximum number of rows compared with each other. Larger classes are split at random."""
        return None

    @property
    def across(self) -> bool:
        """Whether samples of all classes are compared with each other."""
        return False

    @abstractmethod
    def picks(self, vectors: tuple[Tensor, ...], k: int, draws: torch.Generator) -> tuple[Rows, Weights]:
        """K rows of one group in the order of picking, and their weights before they are scaled."""

    def weigh(self, vectors: tuple[Tensor, ...], order: Rows) -> Weights:
        """The weights of some rows of one group, given in the order of picking."""
        return torch.ones(len(order), dtype=torch.float64)

    def pick(self, pool: Pool) -> Picked:
        k, _ = self.size(pool.m, pool.least)
        if k == pool.m:
            return Picked()
        order = self._recorded(pool, k)
        run = self._run(pool, k) if order is None else _Run(order, self._weigh_again(pool, order))
        rows, back = run.order.sort()
        return Picked(rows, None if run.weights is None else run.weights[back])

    def balanced(self, by_class: bool) -> Picker:
        return self  # it divides the budget by class already

    def rows(self, pool: Pool) -> Rows:
        return self.take(pool, self.size(pool.m, pool.least)[0])

    def take(self, pool: Pool, k: int) -> Rows:
        if k == pool.m:
            return torch.arange(k)
        order = self._recorded(pool, k)
        return (self._run(pool, k).order if order is None else order).sort().values

    def columns(self, pool: Pool) -> dict[str, Tensor]:
        k, _ = self.size(pool.m, pool.least)
        run = self._run(pool, k)
        # float32 counts to 2^24.
        exact = torch.float32 if pool.m <= 1 << 24 else torch.float64
        order = torch.full((pool.m,), -pool.m, dtype=exact)
        order[run.order] = -torch.arange(k, dtype=exact)
        if run.weights is None:
            return {"order": order}
        weight = torch.full((pool.m,), float("nan"))
        weight[run.order] = run.weights
        return {"order": order, "weight": weight}

    def reason(self, pool: Pool, row: int, k: int) -> str:
        of = self._groups(pool).of
        size = int((of == of[row]).sum())
        order = pool.values["order"] if "order" in pool.values else self.columns(pool)["order"]
        pick = 1 - int(order[row])
        at = f"It was pick {pick:,}" if pick <= pool.m else "It was not among the picks that were recorded"
        where = "" if size == pool.m else f", among the {size:,} samples that it is compared with"
        return f"The choice is greedy, one sample after the other. {at}{where}; the first {k:,} are kept."

    # ------------------------------------------------------------------------------ from vectors

    def _vectors(self, pool: Pool) -> tuple[Tensor, ...]:
        return tuple(pool.scores(name) for name in self.needs)

    def _groups(self, pool: Pool) -> Groups:
        classes = pool.values.get("target") if pool.labels is None else pool.labels
        if self.across or classes is None:
            classes = torch.zeros(pool.m, dtype=torch.int64)
        # A separate generator, because the blocks must be the same at every call.
        return greedy.groups(classes.long(), self.largest, rng.generator(pool.rng.initial_seed(), "blocks"))

    def _run(self, pool: Pool, k: int) -> _Run:
        vectors, groups = self._vectors(pool), self._groups(pool)
        rows, weights, places, sources = [], [], [], []
        for g, (members, quota) in enumerate(zip(groups.members, greedy.quotas(k, groups), strict=True)):
            if not quota:
                continue
            inside = tuple(column[members] for column in vectors)
            order, weight = self.picks(inside, int(quota), pool.rng)
            rows.append(members[order])
            weights.append(weight)
            places.append(torch.arange(len(order)))
            sources.append(torch.full((len(order),), g))
        order = greedy.merged(groups, torch.cat(rows), torch.cat(sources), torch.cat(places))
        return _Run(torch.cat(rows)[order], _scaled(torch.cat(weights)[order]) if self.own_weights else None)

    # ----------------------------------------------------------------------------- from an order

    def _recorded(self, pool: Pool, k: int) -> Rows | None:
        """The first k rows of a recorded order, by class. None: pick from the vectors."""
        recorded = pool.values.get("order")
        if recorded is None:
            return None
        order = recorded.argsort(descending=True, stable=True)[: int((recorded > -pool.m).sum())]
        if len(order) < k:
            if all(name in pool.values for name in self.needs):
                return None
            raise ValueError(
                f"{type(self).__name__} was scored with keep={len(order) / pool.m:g}, which made "
                f"{len(order)} picks, but {k} are needed: score again with a larger keep."
            )
        of = self._groups(pool).of
        made = of[order].bincount(minlength=int(of.max()) + 1)
        quotas = greedy.capped(k, of.bincount(), made)
        return order[greedy.places(of[order]) < quotas[of[order]]]

    def _weigh_again(self, pool: Pool, order: Rows) -> Weights | None:
        if not self.own_weights:
            return None
        recorded = pool.values["weight"] if "weight" in pool.values else torch.empty(0)
        made = int((~recorded.isnan()).sum())
        if made == len(order):
            return recorded[order]
        if not all(name in pool.values for name in self.needs):
            raise ValueError(
                f"the weights of {type(self).__name__} are known for {made} picks only, not for "
                f"{len(order)}. Choose keep={made / pool.m:g}, or weights='none': the same samples, "
                "each with weight 1."
            )
        vectors, groups = self._vectors(pool), self._groups(pool)
        weights = torch.empty(len(order), dtype=torch.float64)
        inside = torch.empty(pool.m, dtype=torch.int64)
        for g, members in enumerate(groups.members):
            inside[members] = torch.arange(len(members))
            picked = groups.group[order] == g
            if picked.any():
                weights[picked] = self.weigh(
                    tuple(column[members] for column in vectors), inside[order[picked]]
                )
        return _scaled(weights)


def _scaled(weights: Weights) -> Weights:
    """With mean 1 over the subset; a 0 becomes the smallest positive weight."""
    found = weights / weights.mean()
    small = found.float() <= 0
    if small.any():
        found = torch.where(small, found[~small].min(), found)
        found = found / found.mean()
    return found.float()


@checked
@dataclass(frozen=True)
class Herding(Greedy):
    """Keeps the mean of the picked `features` as near as possible to the mean of the class."""

    keep: Keep
    needs: ClassVar[tuple[str, ...]] = ("features",)

    def picks(self, vectors: tuple[Tensor, ...], k: int, draws: torch.Generator) -> tuple[Rows, Weights]:
        (features,) = vectors
        order = greedy.herd(features, k)
        return order, self.weigh(vectors, order)


@checked
@dataclass(frozen=True)
class FacilityLocation(Greedy):
    """Represents every last-layer gradient of the class by the nearest picked one.

    The weight of a pick is the number of samples that it represents. Reads `residual` and `features`; holds
    4 block^2 bytes of distances at a time.
    """

    keep: Keep
    block: Block = 8192
    needs: ClassVar[tuple[str, ...]] = ("residual", "features")
    own_weights: ClassVar[bool] = True

    @property
    def largest(self) -> int:
        return self.block

    def picks(self, vectors: tuple[Tensor, ...], k: int, draws: torch.Generator) -> tuple[Rows, Weights]:
        similarity = self._similarity(vectors)
        order = greedy.locate(similarity, k)
        return order, greedy.clusters(similarity, order).double()

    def weigh(self, vectors: tuple[Tensor, ...], order: Rows) -> Weights:
        return greedy.clusters(self._similarity(vectors), order).double()

    def _similarity(self, vectors: tuple[Tensor, ...]) -> Float[Tensor, "m m"]:
        residual, features = vectors
        return greedy.similarity(greedy.brought_down(residual, features)[0], features)  # any scale is right


@checked
@dataclass(frozen=True)
class MatchingPursuit(Greedy):
    """Matches the sum of the last-layer gradients of the class by a weighted sum of picked ones.

    Weights are fitted with a ridge `lam` and are never negative. The fit ends early if the sum is met to a
    relative error of `eps`, or if no gradient points towards the rest. A uniform draw with weight 1 then
    fills the budget. Reads `residual` and `features`; holds 4 block^2 bytes of products and 8 k^2 of the fit
    at a time.
    """

    keep: Keep
    lam: Annotated[float, Range(0, open_low=True)] = 0.5
    eps: Annotated[float, Range(0)] = 1e-4
    block: Block = 8192
    needs: ClassVar[tuple[str, ...]] = ("residual", "features")
    own_weights: ClassVar[bool] = True

    @property
    def largest(self) -> int:
        return self.block

    def picks(self, vectors: tuple[Tensor, ...], k: int, draws: torch.Generator) -> tuple[Rows, Weights]:
        order, weights = self._pursue(vectors, torch.arange(len(vectors[0])), k)
        left = torch.ones(len(vectors[0]), dtype=torch.bool)
        left[order] = False
        others = left.nonzero().squeeze(1)
        fill = others[torch.randperm(len(others), generator=draws)[: k - len(order)]]
        return torch.cat([order, fill]), torch.cat([weights, weights.new_ones(len(fill))])

    def weigh(self, vectors: tuple[Tensor, ...], order: Rows) -> Weights:
        """Pursuit among these rows alone. Rows that it leaves out are the uniform draw, with weight 1."""
        found, fitted = self._pursue(vectors, order, len(order))
        weights = torch.ones(len(order), dtype=torch.float64)
        weights[found] = fitted
        return weights

    def _pursue(self, vectors: tuple[Tensor, ...], among: Int[Tensor, " m"], k: int) -> tuple[Rows, Weights]:
        residual, features = vectors
        # Gradients divided by a number fit the same if the ridge is divided by its square.
        residual, over = greedy.brought_down(residual, features)
        goal, square = greedy.toward_sum(residual, features)
        gram = greedy.gram(residual[among], features[among])
        return greedy.pursue(gram, goal[among], square, k, self.lam / over**2, self.eps)
