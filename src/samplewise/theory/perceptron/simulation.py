"""`simulate`: trains max-margin students on random pools, to compare with the equations."""

# ruff: noqa: N806 - R is the letter of the equations

from dataclasses import dataclass
from math import acos, cos, floor, pi, sin, sqrt
from typing import Annotated, Literal, NamedTuple

import numpy as np
from jaxtyping import Float64, Int

from samplewise.checks import Range, check_arguments
from samplewise.theory.perceptron.solver import Alpha, Counts, Keep, check_theta
from samplewise.theory.perceptron.svm import hard_margin

Dimension = Annotated[int, Range(2)]
Repeats = Annotated[int, Range(2)]
Seed = Annotated[int, Range(0)]
Margin = Literal["unsigned", "signed"]
Measures = tuple[float, float, float, float, float, float]


class Estimate(NamedTuple):
    """The mean over repeats and its standard error."""

    mean: float
    standard_error: float


@dataclass(frozen=True)
class Simulation:
    """Results of `repeats` random pools: each is a mean with its standard error.

    The names are as in `Solution`. `theta` is the angle between teacher and the estimator that selected, and
    `support_vectors` is the number of support vectors per dimension.
    """

    alpha: float
    keep: float
    dimension: int
    repeats: int
    theta: Estimate
    R: Estimate
    rho: Estimate
    kappa: Estimate
    error: Estimate
    support_vectors: Estimate


@dataclass(frozen=True)
class Pool:
    """Standard normal inputs, and labels by a teacher along the first axis."""

    inputs: Float64[np.ndarray, "n d"]
    labels: Float64[np.ndarray, " n"]

    @classmethod
    def draw(cls, size: int, dimension: int, rng: np.random.Generator) -> "Pool":
        """Draw a new pool of `size` examples."""
        inputs = rng.standard_normal((size, dimension))
        return cls(inputs, np.where(inputs[:, 0] >= 0, 1.0, -1.0))

    def smallest(
        self, keep: float, estimator: Float64[np.ndarray, " d"], margin: Margin
    ) -> Int[np.ndarray, " k"]:
        """Positions of the `keep` share with the smallest margins. The number dropped is rounded down."""
        n = len(self.labels)
        fields = self.inputs @ estimator
        margins = np.abs(fields) if margin == "unsigned" else self.labels * fields
        return np.argsort(margins, kind="stable")[: n - floor((1 - keep) * n + 1e-9)]

    def student(self, kept: Int[np.ndarray, " k"]) -> tuple[Float64[np.ndarray, " d"], float, float]:
        """Return the max-margin classifier of the kept examples (norm 1), its margin, support vectors / d."""
        weights, support = hard_margin(self.inputs[kept] * self.labels[kept, None])
        norm = float(np.linalg.norm(weights))
        return weights / norm, 1 / norm, len(support) / self.inputs.shape[1]


def probe(theta: float, dimension: int) -> Float64[np.ndarray, " d"]:
    """The unit vector at angle `theta` (radians) from the teacher."""
    made = np.zeros(dimension)
    made[:2] = cos(theta), sin(theta)
    return made


def simulate(
    alpha: Alpha,
    keep: Keep = 1.0,
    theta: float = 0.0,
    dimension: Dimension = 200,
    repeats: Repeats = 10,
    seed: Seed = 0,
    alpha_counts: Counts = "pool",
) -> Simulation:
    """Draw pools, keep the examples with the smallest probe margins, and train exact max-margin students.

    The arguments before `dimension` are those of `solve`. Each repeat has its own generator, seeded with
    `seed` and the number of the repeat. The equations hold in the limit of many dimensions. At dimension
    200, the difference is about the standard error of ten repeats. There, one repeat takes about 0.03
    seconds, or half a second for alpha = 50.

    Raises:
        ValueError: if an argument is out of range. The error names it.
    """
    given = {"alpha": alpha, "keep": keep, "dimension": dimension, "repeats": repeats, "seed": seed}
    check_arguments("simulate", simulate, given | {"theta": theta, "alpha_counts": alpha_counts})
    check_theta("simulate", theta)
    size = max(1, round((alpha / keep if alpha_counts == "kept" else alpha) * dimension))
    estimator = probe(theta, dimension)
    found = []
    for repeat in range(repeats):
        pool = Pool.draw(size, dimension, np.random.default_rng([seed, repeat]))
        found.append(trained(pool, keep, estimator, "unsigned")[1])
    return simulation(alpha, keep, dimension, found)


def trained(
    pool: Pool, keep: float, estimator: Float64[np.ndarray, " d"], margin: Margin
) -> tuple[Float64[np.ndarray, " d"], Measures]:
    """Train on what `estimator` selects. Return the student, (theta, R, rho, kappa, error, support / d)."""
    student, kappa, support = pool.student(pool.smallest(keep, estimator, margin))
    R, theta = float(student[0]), _angle(float(estimator[0]))
    return student, (theta, R, float(student @ estimator), kappa, _angle(R) / pi, support)


def simulation(alpha: float, keep: float, dimension: int, found: list[Measures]) -> Simulation:
    """Compute means and standard errors over repeats."""
    values = np.array(found)
    errors = values.std(axis=0, ddof=1) / sqrt(len(values))
    means = [Estimate(float(m), float(e)) for m, e in zip(values.mean(axis=0), errors, strict=True)]
    return Simulation(alpha, keep, dimension, len(values), *means)


def _angle(cosine: float) -> float:
    return acos(min(1.0, max(-1.0, cosine)))
