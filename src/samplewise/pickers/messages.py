"""A picker by messages over the graph of nearest neighbors: D2 pruning."""

from dataclasses import dataclass, field, replace
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from samplewise.checks import Range, Share, checked
from samplewise.pickers import greedy
from samplewise.pickers.base import Picker, Pool, Rows
from samplewise.pickers.coresets import finite
from samplewise.pickers.vectors import Greedy, Weights

__all__ = ["MessagePassing"]


@checked
@dataclass(frozen=True)
class MessagePassing(Greedy):
    """Picks hard samples of different neighborhoods, by the scores `by` and the vectors `features`.

    Each sample is joined with its `neighbors` nearest ones, by Euclidean distance d. It gets
    exp(-gamma_f d^2) times the score of each neighbor, once. Then the sample with the highest score is
    picked. It takes exp(-gamma_r d^2) times its score from each neighbor, and so on. Equal scores: the sample
    that comes first. Infinite scores count as the greatest finite one plus 1. If a score is negative, all
    are shifted so that the least is 0.

    Args:
        keep: the share kept.
        by: the column of scores; higher is harder.
        neighbors: the number of nearest neighbors. With fewer other samples, all of them.
        gamma_f: how fast forward messages fade with the squared distance.
        gamma_r: the same for reverse messages. A larger one keeps more samples of one neighborhood.
        balance: choose inside each class.
        ordered: the `balance` with which a recorded order was made. None: the same.
    """

    keep: Share
    by: str
    neighbors: Annotated[int, Range(1)] = 5
    gamma_f: Annotated[float, Range(0)] = 1.0
    gamma_r: Annotated[float, Range(0)] = 0.1
    balance: bool = False
    ordered: bool | None = field(default=None, repr=False)

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]  # a constant in the class above
        return ("features", self.by)

    @property
    def across(self) -> bool:
        return not self.balance

    @property
    def by_class(self) -> bool:  # type: ignore[override]  # a constant in the class above
        return self.balance

    def balanced(self, by_class: bool) -> Picker:
        ordered = self.balance if self.ordered is None else self.ordered
        return replace(self, balance=by_class, ordered=ordered)

    def picks(self, vectors: tuple[Tensor, ...], k: int, draws: torch.Generator) -> tuple[Rows, Weights]:
        features, scores = vectors
        graph = greedy.graph_of(features, self.neighbors)
        gathered = greedy.gathered(scores, graph, self.gamma_f)
        order = greedy.pick_by_messages(gathered, graph, self.gamma_r, k)
        return order, self.weigh(vectors, order)

    def _recorded(self, pool: Pool, k: int) -> Rows | None:
        if self.ordered in (None, self.balance):
            return super()._recorded(pool, k)
        if "order" in pool.values and "features" not in pool.values:
            raise ValueError(
                f"MessagePassing was scored with balance={self.ordered}, and a table has no features to "
                f"choose with balance={self.balance}. Score again, or leave balance out."
            )
        return None

    def _vectors(self, pool: Pool) -> tuple[Tensor, ...]:
        features, scores = super()._vectors(pool)
        return features, _difficulty(scores)


def _difficulty(scores: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
    """Scores that are finite and at least 0, in the same order."""
    scores = finite(scores)
    return scores - scores.min().clamp(max=0)
