"""Orthogonal matching pursuit with weights that are never negative."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["pursue"]

# Correlations below this share of the largest are rounding errors of the float32 products.
_ROUNDING = 1e-6


def pursue(
    gram: Float[Tensor, "m m"],
    goal: Float[Tensor, " m"],
    square: float,
    k: int,
    lam: float,
    eps: float,
) -> tuple[Int[Tensor, " s"], Float[Tensor, " s"]]:
    """At most k rows in the order of picking, and their weights > 0.

    Minimises ||target - sum_j w_j g_j||^2 + lam ||w||^2: the sample with the largest correlation
    <g_i, target - sum_j w_j g_j> joins and all weights are fitted again, w >= 0. A pick whose
    weight becomes 0 is removed, and may be picked again. Ends with k picks, with no positive
    correlation left, or when the residual is below `eps` times the target. O(k^2 + k m) a pick.

    Args:
        gram: all inner products of the m candidates; its rows are permuted in place.
        goal: the inner product of every candidate with the target.
        square: the target's squared norm.
        k: the maximum number of picks.
        lam: the ridge, > 0.
        eps: the relative residual that is good enough.
    """
    fit = _Fit(gram, goal.double(), k, lam)
    # Each pick lowers the objective, so no support repeats. The bound is for rounding errors only.
    for _ in range(8 * k):
        if fit.size == k or fit.residual(square) <= eps * eps * square:
            break
        pick = fit.best()
        if pick is None:
            break
        fit.add(pick)
    picked = torch.tensor(fit.turn[: fit.size]).argsort()
    return fit.who[: fit.size][picked], fit.weights[picked]


class _Fit:
    """Ridge regression on a support that grows and shrinks.

    Member p of the support is row p of the permuted gram matrix. With G the gram matrix of the
    support plus lam, `factor` is a square F with F^T F = G^-1 (the inverse Cholesky factor while only
    picks join), and y = F goal, so the weights are F^T y. To join and to leave cost O(size^2).
    """

    def __init__(self, gram: Tensor, goal: Tensor, k: int, lam: float) -> None:
        m = len(gram)
        self.gram, self.goal, self.lam = gram, goal, lam
        self.floor = _ROUNDING * float(goal.abs().max()) if m else 0.0
        self.who, self.place = torch.arange(m), torch.arange(m)
        self.size, self.turns, self.turn = 0, 0, [0] * k
        self.factor = torch.zeros(k, k, dtype=torch.float64)
        self.y = torch.zeros(k, dtype=torch.float64)
        self.weights = torch.zeros(0, dtype=torch.float64)

    def residual(self, square: float) -> float:
        """The squared residual: the fit's normal equations give it without a product of vectors."""
        w = self.weights
        return square - float(w @ self.goal[self.who[: self.size]]) - self.lam * float(w @ w)

    def best(self) -> int | None:
        """The candidate with the largest positive correlation."""
        left = self.goal - self.gram[: self.size].T @ self.weights.float()
        left[self.who[: self.size]] = -torch.inf
        pick = int(left.argmax())
        return pick if float(left[pick]) > self.floor else None

    def add(self, pick: int) -> None:
        """Add a candidate to the support. Then remove the members whose weight would be negative."""
        s, row = self.size, self.gram[self.place[pick]]
        inside = self.factor[:s, :s]
        along = inside @ row[self.who[:s]].double()
        # Never below the ridge. Rounding errors of float32 products could make it smaller.
        height = float((row[pick].double() + self.lam - along @ along).clamp(min=self.lam).sqrt())
        self.factor[s, :s] = (along @ inside) / -height
        self.factor[s, s] = 1 / height
        self.y[s] = (self.goal[pick] - along @ self.y[:s]) / height
        before = torch.cat([self.weights, torch.zeros(1, dtype=torch.float64)])
        self._swap(int(self.place[pick]), s)
        self.turn[s], self.turns, self.size = self.turns, self.turns + 1, s + 1
        after = self.y[s] * self.factor[s, : s + 1]
        after[:s] += self.weights
        while float(after.min()) <= 0:
            # Go towards the unconstrained solution until the first weight reaches 0.
            falls = torch.where(after <= 0, before / (before - after).clamp(min=1e-300), torch.inf)
            first = int(falls.argmin())
            before = before.lerp(after, falls[first])
            before[first] = before[-1]
            before = before[:-1]
            self._drop(first)
            after = self.y[: self.size] @ self.factor[: self.size, : self.size]
        self.weights = after

    def _drop(self, p: int) -> None:
        # A reflection of the rows leaves column p with one entry, in the last row: both can be removed.
        last = self.size - 1
        inside, y = self.factor[: self.size, : self.size], self.y[: self.size]
        mirror = inside[:, p].clone()
        mirror[last] += mirror.norm().copysign(mirror[last])
        mirror /= mirror.norm()
        inside.addr_(mirror, mirror @ inside, alpha=-2)
        y -= 2 * (mirror @ y) * mirror
        inside[:, p] = inside[:, last]
        self.factor[last] = 0
        self.factor[:, last] = 0
        self.turn[p] = self.turn[last]
        self._swap(p, last)
        self.size = last

    def _swap(self, a: int, b: int) -> None:
        if a != b:
            pair, other = torch.tensor([a, b]), torch.tensor([b, a])
            self.gram[pair] = self.gram[other]
            self.who[pair] = self.who[other]
            self.place[self.who[pair]] = pair
