"""Repeated selection: each stage selects with the student of the stage before. Theory and simulation."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import acos
from typing import Literal

import numpy as np

from samplewise.checks import check_arguments
from samplewise.theory.perceptron.simulation import (
    Dimension,
    Margin,
    Measures,
    Pool,
    Repeats,
    Seed,
    Simulation,
    probe,
    simulation,
    trained,
)
from samplewise.theory.perceptron.solver import Alpha, Counts, Keep, Solution, check_theta, solve

Pools = Literal["fresh", "same"]


@dataclass(frozen=True)
class Comparison:
    """Dynamic and static selection, stage by stage. Made by `compare`.

    Attributes:
        recursion: solutions of the equations, with a fresh pool at each stage.
        static: solutions of the equations, with the first probe at each stage.
        full: the solution of the equations for the whole pool.
        fresh: simulations with a fresh pool at each stage.
        same: simulations with one pool for all stages.
        critical_keep: `critical_keep(alpha)`.
    """

    recursion: tuple[Solution, ...]
    static: tuple[Solution, ...]
    full: Solution
    fresh: tuple[Simulation, ...]
    same: tuple[Simulation, ...]
    critical_keep: float


def dynamics(
    alpha: Alpha, keeps: Sequence[float], theta: float, alpha_counts: Counts = "pool"
) -> tuple[Solution, ...]:
    """The recursion theta_{k+1} = arccos R(alpha, keep_k, theta_k), from a probe at `theta` (radians).

    It is exact in many dimensions if every stage draws a fresh pool, and the student of the stage before
    selects from it. In practice, dynamic selection uses one pool for all stages, and behaves differently:
    see `same_pool`. A dynamic schedule is not always better than static selection, and the error does not
    always fall from stage to stage.

    Raises:
        ValueError: if an argument is out of range. The error names it.
    """
    _check(dynamics, alpha, keeps, theta, alpha_counts=alpha_counts)
    stages: list[Solution] = []
    for keep in keeps:
        stages.append(solve(alpha, keep, theta, alpha_counts))
        theta = acos(min(1.0, stages[-1].R))
    return tuple(stages)


def static(
    alpha: Alpha, keeps: Sequence[float], theta: float, alpha_counts: Counts = "pool"
) -> tuple[Solution, ...]:
    """Compute the same stages if the first probe, at angle `theta` (radians), selects at every stage."""
    _check(static, alpha, keeps, theta, alpha_counts=alpha_counts)
    return tuple(solve(alpha, keep, theta, alpha_counts) for keep in keeps)


def critical_keep(alpha: Alpha) -> float:
    """The smallest share that can hold all support vectors of the whole pool: support vectors / (alpha d).

    With one pool and at least this share kept, the student of the whole pool is a fixed point of repeated
    selection and training, as in support-vector chunking. With a smaller share, the student collapses.

    >>> round(critical_keep(3.2), 3)
    0.283
    """
    return solve(alpha).support_vectors / alpha


def fresh_pools(
    alpha: Alpha,
    keeps: Sequence[float],
    theta: float,
    dimension: Dimension = 200,
    repeats: Repeats = 10,
    seed: Seed = 0,
    margin: Margin = "unsigned",
) -> tuple[Simulation, ...]:
    """Simulate the stages with a fresh pool at each stage. `alpha` counts the pool.

    For unsigned margins, `dynamics` is its theory. The arguments are those of `same_pool`.
    """
    _check(fresh_pools, alpha, keeps, theta, dimension=dimension, repeats=repeats, seed=seed, margin=margin)
    return _simulate("fresh", alpha, keeps, theta, dimension, repeats, seed, margin)


def same_pool(
    alpha: Alpha,
    keeps: Sequence[float],
    theta: float,
    dimension: Dimension = 200,
    repeats: Repeats = 10,
    seed: Seed = 0,
    margin: Margin = "unsigned",
) -> tuple[Simulation, ...]:
    """Simulate the stages with one pool: select with the current student, train a new student, repeat.

    This is dynamic selection as used in practice. The equations of this package do not describe it. If
    `keeps` stay above `critical_keep(alpha)`, it finds the support vectors of the whole pool; the last share
    matters most. With an unsigned margin, confidently misclassified examples are never selected, so it can
    also stop at another solution. With `margin="signed"` (label times field), these are selected first.

    Args:
        alpha: examples of the pool per dimension.
        keeps: the share of the pool to keep at each stage.
        theta: the angle between the first probe and the teacher, in radians.
        dimension: the dimension of the inputs.
        repeats: the number of random pools. Repeat r uses the generator with seed (`seed`, r).
        seed: see `repeats`.
        margin: the kind of margin; examples with the smallest ones are kept.
    """
    _check(same_pool, alpha, keeps, theta, dimension=dimension, repeats=repeats, seed=seed, margin=margin)
    return _simulate("same", alpha, keeps, theta, dimension, repeats, seed, margin)


def linear_keeps(keep: Keep, stages: int) -> tuple[float, ...]:
    """Return shares 1 - a, 1 - 2 a, ..., whose average is `keep`.

    Raises:
        ValueError: if the last share would be below 0.05.

    >>> [round(share, 3) for share in linear_keeps(0.6, 3)]
    [0.8, 0.6, 0.4]
    """
    check_arguments("linear_keeps", linear_keeps, {"keep": keep, "stages": stages})
    if stages < 1:
        raise ValueError(f"linear_keeps.stages must be >= 1, got {stages!r}.")
    step = 2 * (1 - keep) / (stages + 1)
    if 1 - stages * step < 0.05:
        raise ValueError(
            f"the last share of linear_keeps must be >= 0.05, but keep = {keep:g} ends at "
            f"{1 - stages * step:.3g} after {stages} stages. Use a larger keep or fewer stages."
        )
    return tuple(1 - k * step for k in range(1, stages + 1))


def compare(
    alpha: Alpha,
    keeps: Sequence[float],
    theta: float,
    dimension: Dimension = 200,
    repeats: Repeats = 10,
    seed: Seed = 0,
    margin: Margin = "unsigned",
) -> Comparison:
    """Compare dynamic and static selection, in theory and simulation. The arguments are as in `same_pool`."""
    settings = (alpha, keeps, theta, dimension, repeats, seed, margin)
    fresh, same = fresh_pools(*settings), same_pool(*settings)
    return Comparison(
        recursion=dynamics(alpha, keeps, theta),
        static=static(alpha, keeps, theta),
        full=solve(alpha),
        fresh=fresh,
        same=same,
        critical_keep=critical_keep(alpha),
    )


def _check(function: object, alpha: float, keeps: Sequence[float], theta: float, **given: object) -> None:
    owner = str(getattr(function, "__name__", ""))
    check_arguments(owner, function, {"alpha": alpha} | given)
    check_theta(owner, theta)
    if not len(keeps):
        raise ValueError(f"{owner}.keeps must hold one share for each stage, but is empty.")
    for i, keep in enumerate(keeps):
        check_arguments(f"{owner}.keeps[{i}]", _Share, {"keep": keep})


@dataclass(frozen=True)
class _Share:
    keep: Keep


def _simulate(
    pools: Pools,
    alpha: float,
    keeps: Sequence[float],
    theta: float,
    dimension: int,
    repeats: int,
    seed: int,
    margin: Margin,
) -> tuple[Simulation, ...]:
    size = max(1, round(alpha * dimension))
    found: list[list[Measures]] = [[] for _ in keeps]
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, repeat])
        pool, estimator = Pool.draw(size, dimension, rng), probe(theta, dimension)
        for k, keep in enumerate(keeps):
            if pools == "fresh" and k:
                pool = Pool.draw(size, dimension, rng)
            estimator, measured = trained(pool, keep, estimator, margin)
            found[k].append(measured)
    stages = zip(keeps, found, strict=True)
    return tuple(simulation(alpha, keep, dimension, repeated) for keep, repeated in stages)
