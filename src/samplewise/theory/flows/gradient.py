"""Proposition 1 of Evolved Sampling: gradient flow where each sample is weighted by its loss."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float64

from samplewise.checks import Range, check_arguments

Vector = Float64[np.ndarray, " n"]
Problem = Callable[[Float64[np.ndarray, " p"]], tuple[Vector, Float64[np.ndarray, "n p"]]]
"""A function from parameters to the loss and the gradient of each sample."""


@dataclass(frozen=True)
class Flow:
    """A path of gradient flow, at `steps + 1` times.

    Attributes:
        times: the times, from 0.
        parameters: the parameters, one row per time.
        losses: the losses of all samples, one row per time.
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
    """Both sides of inequality (3.5) at each time s > 0 of a flow: `left` <= `sharper` <= `right`.

    Attributes:
        times: the times s.
        left: the mean loss, averaged over [0, s].
        right: |theta_0 - theta*|^2 / (2 s) minus the time average of `advantage`, as in the paper.
        sharper: the same with `spread` instead of `advantage`.
    """

    times: Float64[np.ndarray, " s"]
    left: Float64[np.ndarray, " s"]
    right: Float64[np.ndarray, " s"]
    sharper: Float64[np.ndarray, " s"]


def advantage(losses: Vector) -> float:
    """Delta in (3.5): the gap in the losses at their mean, times the probability that moves above the mean.

    Let p be the share of a sample in the total loss. The first group are samples with p > 1 / n, the second
    group all others. Delta is the smallest loss in the first group minus the largest in the second, times the
    sum of p - 1 / n over the first group. If all losses are equal, it is zero. So the paper's "positive"
    needs losses that differ.

    >>> round(advantage(np.array([1.0, 3.0])), 6)
    0.5
    """
    _check("advantage", losses)
    total = losses.sum()
    above = losses > total / len(losses)
    # The mean of equal numbers may be below all of them, by a rounding error.
    if not above.any() or above.all():
        return 0.0
    gap = losses[above].min() - losses[~above].max()
    return float(gap * (losses[above] / total - 1 / len(losses)).sum())


def spread(losses: Vector) -> float:
    """The variance of the losses divided by their mean: the first term T_1 of the proof.

    It is at least `advantage`. The loss weighted by itself exceeds the mean loss by exactly this:
    sum l^2 / sum l = mean + spread.

    >>> round(spread(np.array([1.0, 3.0])), 6)
    0.5
    """
    _check("spread", losses)
    mean = losses.mean()
    return float(losses.var() / mean) if mean else 0.0


def _check(owner: str, losses: Vector) -> None:
    if losses.ndim != 1 or not len(losses) or not np.isfinite(losses).all() or losses.min() < 0:
        raise ValueError(
            f"{owner}.losses must be a vector of finite numbers >= 0, one for each sample, got "
            f"{losses!r:.80}."
        )


def flow(
    problem: Problem,
    start: Float64[np.ndarray, " p"],
    time: Annotated[float, Range(0, open_low=True)],
    steps: Annotated[int, Range(1)] = 1000,
    weighting: Literal["loss", "equal"] = "loss",
) -> Flow:
    """Integrate d theta / ds = - sum_i p_i grad l_i from `start` with the Runge-Kutta method of order 4.

    With `weighting="loss"`, p_i is l_i divided by the sum of all losses. With `"equal"` it is 1 / n, which is
    ordinary gradient flow.

    Limits: weighting by the loss does not make the mean loss smaller at the same time, and does not improve
    the rate. By (3.5), it only improves the constant of an O(1 / s) bound on the time average.

    Args:
        problem: a function from parameters to losses >= 0 and gradients (one row per sample).
        start: theta at time 0.
        time: the end time.
        steps: the number of equal steps.
        weighting: of the samples.

    Raises:
        ValueError: if an argument is out of range, or if `problem` returns negative or non-finite losses.
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
    """Compute both sides of (3.5) along a path of loss-weighted flow, with the trapezoid rule.

    The inequality holds if every loss is convex and >= 0, and all losses are 0 at `optimum`.
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
