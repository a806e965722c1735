"""The convergence bound of DynaMS (Lemma 1, Theorem 2.2) with all its constants.

Logistic regression on N inputs x ~ N(0, Sigma) of d features, lam the largest eigenvalue of Sigma, weights
no longer than D, N / d <= alpha. At step t of T the samples with |w_t . x| below a critical margin are kept,
and the gradient over them is divided by N, not by their number. With probability at least 1 - alpha / mu

    min_t L(w_t) - L(w*) <= D E (T^(-1/4) + c T^(-(3/4 + epsilon)) + c' T^(-(3/4 + beta))).

What does not hold: the rate needs a step size of D / (E T^(3/4)), and with D / (E T^(1/2)) the descent term
does not vanish. D stands both for the longest weights and for the diameter of their set, which can be 2 D:
`safe=True` uses that in the two error terms. The bound is vacuous in practice, far above log 2, which is the
loss of w = 0; and where it is not, the schedule drops next to nothing unless zeta - 1 is about 1 / T. The
assumption on N / d and the probability are read from a damaged scan; they agree with the proof's union bound.
"""

# ruff: noqa: N803, N806 - T, D and E are the letters of the theorem

import warnings
from dataclasses import dataclass
from math import exp, inf, log, pi, sqrt
from typing import Annotated

from samplewise.checks import Range, check_arguments, require

special = require("scipy.special", "theory")

__all__ = [
    "Bound",
    "Lemma1",
    "VacuousBoundWarning",
    "critical_margin",
    "dynams_bound",
    "error_bound",
    "keep_at_least",
    "lemma1",
    "misclassified_bound",
]

Positive = Annotated[float, Range(0, open_low=True)]
Share = Annotated[float, Range(0, 1)]
Steps = Annotated[int, Range(1)]
AboveOne = Annotated[float, Range(1, open_low=True)]


class VacuousBoundWarning(UserWarning):
    """The bound says less than what is known without any training: a loss of log 2 at w = 0."""


@dataclass(frozen=True)
class Lemma1:
    """How long an input can be: `radius` with a probability of at least `probability`.

    Attributes:
        radius: sqrt(d lam (1 + sqrt(2 mu T))).
        loose: E T^(1/4), which is not smaller.
        E: sqrt(d lam) (1 + (2 mu)^(1/4)).
        probability: 1 - 1 / (mu T d), at least 0.
    """

    radius: float
    loose: float
    E: float
    probability: float


@dataclass(frozen=True)
class Bound:
    """Theorem 2.2, term by term.

    Attributes:
        total: the bound on min_t L(w_t) - L(w*), the sum of the three terms.
        descent: what full gradients would leave, D E T^(-1/4).
        dropped: for confident samples that are left out, D E c_dropped T^(-(3/4 + epsilon)).
        misclassified: for those of them that are misclassified, without the shorthand of a rate.
        misclassified_rate: the same as a power of T, D E c_misclassified T^(-(3/4 + beta)), which is not
            smaller; None where log((zeta - 1) T + 1) < 1, for which it is not proved.
        E: of Lemma 1.
        beta: (1 + epsilon)^2 / (2 D^2 lam) - 1, more than -1/2.
        c_dropped: ((zeta - 1)^(-epsilon) - zeta^(-epsilon)) / epsilon.
        c_misclassified: of the third term's power of T.
        step_size: the learning rate it is for, D / (E T^(3/4)).
        probability: 1 - alpha / mu.
        vacuous: whether the total is above log 2.
    """

    total: float
    descent: float
    dropped: float
    misclassified: float
    misclassified_rate: float | None
    E: float
    beta: float
    c_dropped: float
    c_misclassified: float
    step_size: float
    probability: float
    vacuous: bool


def critical_margin(t: int, T: Steps, epsilon: Positive, zeta: AboveOne) -> float:
    """Below which |w_t . x| a sample is kept at step t = 0, ..., T - 1: (1 + epsilon) log(zeta T - t).

    The sum behind the second term holds for these t; for 1, ..., T, as printed, it fails slightly.

    >>> round(critical_margin(0, 100, 0.5, 1.5), 4)
    7.516
    """
    check_arguments("critical_margin", critical_margin, {"t": t, "T": T, "epsilon": epsilon, "zeta": zeta})
    if not 0 <= t < T:
        raise ValueError(f"critical_margin.t must be in [0, {T}), a step counted from 0, got {t}.")
    return (1 + epsilon) * log(zeta * T - t)


def lemma1(d: Steps, lam: Positive, T: Steps, mu: Positive) -> Lemma1:
    """Length of an input x ~ N(0, Sigma) of d features, by Chebyshev's inequality on its square.

    `lam` is the largest eigenvalue of Sigma, `mu` sets the probability.
    """
    check_arguments("lemma1", lemma1, {"d": d, "lam": lam, "T": T, "mu": mu})
    E = sqrt(d * lam) * (1 + (2 * mu) ** 0.25)
    return Lemma1(
        radius=sqrt(d * lam * (1 + sqrt(2 * mu * T))),
        loose=E * T**0.25,
        E=E,
        probability=max(0.0, 1 - 1 / (mu * T * d)),
    )


def misclassified_bound(kappa: Positive, D: Positive, lam: Positive) -> float:
    """The most that is expected to be misclassified beyond `kappa`: 2 Phi(-kappa / (D sqrt(lam)))."""
    check_arguments("misclassified_bound", misclassified_bound, {"kappa": kappa, "D": D, "lam": lam})
    return 2 * float(special.ndtr(-kappa / (D * sqrt(lam))))


def keep_at_least(T: Steps, zeta: AboveOne) -> float:
    """The share that the schedule keeps in expectation is never less than 1 - 2 Phi(-log((zeta - 1) T + 1)).

    >>> round(1 - keep_at_least(120, 2.0), 7)
    1.6e-06
    """
    check_arguments("keep_at_least", keep_at_least, {"T": T, "zeta": zeta})
    return 1 - 2 * float(special.ndtr(-log((zeta - 1) * T + 1)))


def error_bound(radius: Positive, kappa: Positive, kept: Share, misclassified: Share) -> float:
    """How far the kept samples' gradient, divided by N, is at most from that of all N.

    Args:
        radius: length of the longest input; E T^(1/4) in the theorem.
        kappa: the critical margin.
        kept: share of the samples that are kept.
        misclassified: share of all samples that are dropped and misclassified.
    """
    given = {"radius": radius, "kappa": kappa, "kept": kept, "misclassified": misclassified}
    check_arguments("error_bound", error_bound, given)
    if kept + misclassified > 1 + 1e-9:
        raise ValueError(
            f"error_bound.misclassified must be <= {1 - kept:g}, the share dropped, got {misclassified!r}."
        )
    return radius * ((1 - kept - misclassified) / (1 + exp(kappa)) + misclassified)


def _exp(power: float) -> float:
    """Infinite where it is beyond double precision, as constants of narrow inputs are."""
    return exp(power) if power < 709 else inf


def dynams_bound(
    T: Steps,
    d: Steps,
    lam: Positive,
    D: Positive,
    epsilon: Positive,
    zeta: AboveOne,
    mu: Positive,
    alpha: Positive,
    safe: bool = False,
) -> Bound:
    """The bound of Theorem 2.2 after T steps; see the head of this module for what it does not say.

    Args:
        T: steps of gradient descent.
        d: features.
        lam: largest eigenvalue of the inputs' covariance.
        D: the longest weights, |w| <= D.
        epsilon: of the critical margin; above D sqrt(lam) - 1.
        zeta: of the critical margin.
        mu: sets the probability 1 - alpha / mu; far above alpha.
        alpha: samples a feature, N / d <= alpha.
        safe: take 2 D for the diameter in the two error terms.

    Raises:
        ValueError: naming an argument for which the theorem says nothing.

    Warns:
        VacuousBoundWarning: where the bound is above log 2.
    """
    given = {"T": T, "d": d, "lam": lam, "D": D, "epsilon": epsilon, "zeta": zeta, "mu": mu, "alpha": alpha}
    check_arguments("dynams_bound", dynams_bound, given | {"safe": safe})
    if epsilon <= D * sqrt(lam) - 1:
        raise ValueError(
            f"dynams_bound.epsilon must be > D sqrt(lam) - 1 = {D * sqrt(lam) - 1:g}, got {epsilon!r}."
        )
    if mu <= alpha:
        raise ValueError(
            f"dynams_bound.mu must be > alpha = {alpha:g}, or the probability is not positive, got {mu!r}."
        )
    E = lemma1(d, lam, T, mu).E
    width = D * sqrt(lam)
    beta = (1 + epsilon) ** 2 / (2 * width**2) - 1
    c_dropped = (_exp(-epsilon * log(zeta - 1)) - zeta**-epsilon) / epsilon
    tail = 2 * width / (sqrt(2 * pi) * (1 + epsilon))
    c_misclassified = tail * _exp(-(beta + 1) * log(zeta - 1))
    last = log((zeta - 1) * T + 1)  # the smallest critical margin is (1 + epsilon) times this
    scale = (2 if safe else 1) * D * E * T**-0.75
    descent = D * E * T**-0.25
    dropped = scale * c_dropped * T**-epsilon
    misclassified = scale * T * tail / last * exp(-(beta + 1) * last * last)
    rate = scale * T * tail * _exp(-(beta + 1) * log((zeta - 1) * T)) if last >= 1 else None
    total = descent + dropped + misclassified
    if total > log(2):
        warnings.warn(
            f"dynams_bound is {total:.3g}, above log 2 = 0.693, the loss of w = 0: it says nothing here.",
            VacuousBoundWarning,
            stacklevel=2,
        )
    return Bound(
        total=total,
        descent=descent,
        dropped=dropped,
        misclassified=misclassified,
        misclassified_rate=rate,
        E=E,
        beta=beta,
        c_dropped=c_dropped,
        c_misclassified=c_misclassified,
        step_size=D / (E * T**0.75),
        probability=1 - alpha / mu,
        vacuous=total > log(2),
    )
