"""Proposition 1 of Evolved Sampling: gradient flow with each loss weighted by itself."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float64

from samplewise.checks import Range, check_arguments

Vector = Float64[np.ndarray, " n"]
Problem = Callable[[Float64[np.ndarray, " p"]], tuple[Vector, Float64[np.ndarray, "n p"]]]
"""Parameters to each sample's loss and its gradient."""


@dataclass(frozen=True)
class Flow:
    """A path of gradient flow, at `steps + 1` times.

    Attributes:
        times: from 0.
        parameters: a row a time.
        losses: of every sample, a row a time.
    """

    times: Float64[np.ndarray, " s"]
    parameters: Float64[np.ndarray, "s p"]
    losses: Float64[np.ndarray, "s n"]

    @property
    def loss(self) -> Float64[np.ndarray, " s"]:
        """The mean loss at each time."""
        return np.asarray(self.losses.mean(axis=1))


@dataclass(frozen=True)
class Proposition1:
    """Both sides of (3.5) at each time s > 0 of a flow: `left` <= `sharper` <= `right`.

    Attributes:
        times: s.
        left: mean loss averaged over [0, s].
        right: |theta_0 - theta*|^2 / (2 s) less the time average of `advantage`, as the paper states it.
        sharper: the same with `spread` for `advantage`.
    """

    times: Float64[np.ndarray, " s"]
    left: Float64[np.ndarray, " s"]
    right: Float64[np.ndarray, " s"]
    sharper: Float64[np.ndarray, " s"]


def advantage(losses: Vector) -> float:
    """Delta of equation (3.5): the gap around the mean times the probability moved above it.

    Samples whose share p of the total loss is above 1 / n, against the others: the smallest loss of the first
    less the largest of the second, times the sum of p - 1 / n over the first. Zero where all losses are
    equal, so that "positive" in the paper needs them not to be.

    >>> round(advantage(np.array([1.0, 3.0])), 6)
    0.5
    """
    _check("advantage", losses)
    total = losses.sum()
    above = losses > total / len(losses)
    # The mean of equal numbers may be a rounding error below them all.
    if not above.any() or above.all():
        return 0.0
    gap = losses[above].min() - losses[~above].max()
    return float(gap * (losses[above] / total - 1 / len(losses)).sum())


def spread(losses: Vector) -> float:
    """Variance over mean of the losses, which is what the proof's first term T_1 is; never below `advantage`.

    The self-weighted loss is larger than the mean loss by exactly this: sum l^2 / sum l = mean + spread.

    >>> round(spread(np.array([1.0, 3.0])), 6)
    0.5
    """
    _check("spread", losses)
    mean = losses.mean()
    return float(losses.var() / mean) if mean else 0.0


def _check(owner: str, losses: Vector) -> None:
    if losses.ndim != 1 or not len(losses) or not np.isfinite(losses).all() or losses.min() < 0:
        raise ValueError(f"{owner}.losses must be one finite number >= 0 for each sample.")


def flow(
    problem: Problem,
    start: Float64[np.ndarray, " p"],
    time: Annotated[float, Range(0, open_low=True)],
    steps: Annotated[int, Range(1)] = 1000,
    weighting: Literal["loss", "equal"] = "loss",
) -> Flow:
    """Follow d theta / ds = - sum_i p_i grad l_i from `start` by Runge and Kutta's method.

    With `"loss"` p_i is l_i over the sum of all losses; with `"equal"` it is 1 / n, ordinary gradient flow.

    What does not hold: weighting by the loss does not make the mean loss smaller at equal time, and it does
    not give a better rate; by (3.5) only the constant of an O(1 / s) bound on the time average is better.

    Args:
        problem: parameters to losses, none negative, and gradients, a row a sample.
        start: theta at time 0.
        time: where to end.
        steps: equal ones.
        weighting: of the samples.

    Raises:
        ValueError: naming an argument outside its range, or if the problem gives losses that are negative
            or not finite.
    """
    check_arguments("flow", flow, {"time": time, "steps": steps, "weighting": weighting})

    def measured(theta: Float64[np.ndarray, " p"]) -> tuple[Vector, Float64[np.ndarray, " p"]]:
        losses, gradients = problem(theta)
        _check("flow.problem's", losses)
        total = losses.sum()
        share = losses / total if weighting == "loss" and total else np.full(len(losses), 1 / len(losses))
        return losses, -(share @ gradients)

    h = time / steps
    theta = np.array(start, dtype=float)
    parameters, losses = [theta], [measured(theta)[0]]
    for _ in range(steps):
        one = measured(theta)[1]
        two = measured(theta + h / 2 * one)[1]
        three = measured(theta + h / 2 * two)[1]
        four = measured(theta + h * three)[1]
        theta = theta + h / 6 * (one + 2 * two + 2 * three + four)
        parameters.append(theta)
        losses.append(measured(theta)[0])
    return Flow(np.linspace(0, time, steps + 1), np.stack(parameters), np.stack(losses))


def proposition1(path: Flow, optimum: Float64[np.ndarray, " p"]) -> Proposition1:
    """Both sides of (3.5) along a path of loss-weighted flow, integrals by the trapezoid rule.

    It holds where every loss is convex and at least 0, and all are 0 at `optimum`.
    """
    distance = float(((path.parameters[0] - optimum) ** 2).sum())
    times = path.times[1:]

    def average(values: Float64[np.ndarray, " s"]) -> Float64[np.ndarray, " r"]:
        pieces = np.diff(path.times) * (values[1:] + values[:-1]) / 2
        return np.asarray(pieces.cumsum() / times)

    gain = average(np.array([advantage(row) for row in path.losses]))
    sharp = average(np.array([spread(row) for row in path.losses]))
    start = distance / (2 * times)
    return Proposition1(times, average(path.loss), start - gain, start - sharp)
