"""The convergence bound of DynaMS (Lemma 1, Theorem 2.2) with all its constants.

Setting: logistic regression on N inputs x ~ N(0, Sigma) with d features. lam is the largest eigenvalue of
Sigma, the norm of the weights is at most D, and N / d <= alpha. At step t of T, samples with |w_t . x| below
a critical margin are kept. The gradient over them is divided by N, not by their number. Then, with
probability at least 1 - alpha / mu,

    min_t L(w_t) - L(w*) <= D E (T^(-1/4) + c T^(-(3/4 + epsilon)) + c' T^(-(3/4 + beta))).

Limits of the theorem:

- The rate needs the step size D / (E T^(3/4)). With D / (E T^(1/2)), the descent term does not vanish.
- The paper uses D both as the largest norm of the weights and as the diameter of their set, which can be 2 D.
  `safe=True` uses 2 D in the two error terms.
- In practice, the bound is far above log 2, the loss at w = 0, so it is vacuous. If it is not vacuous, the
  schedule drops almost no samples, unless zeta - 1 is about 1 / T.
- The assumption on N / d and the probability come from a damaged scan. They agree with the union bound in the
  proof.
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
    """The bound is above log 2, the loss without training (w = 0), so it gives no information."""


@dataclass(frozen=True)
class Lemma1:
    """A bound on the norm of an input: at most `radius`, with probability at least `probability`.

    Attributes:
        radius: sqrt(d lam (1 + sqrt(2 mu T))).
        loose: E T^(1/4), at least `radius`.
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
        descent: the term of full gradient descent, D E T^(-1/4).
        dropped: the term of dropped confident samples, D E c_dropped T^(-(3/4 + epsilon)).
        misclassified: the term of dropped misclassified samples, exact.
        misclassified_rate: an upper bound of `misclassified` as a power of T,
            D E c_misclassified T^(-(3/4 + beta)). None if log((zeta - 1) T + 1) < 1: there it is not proved.
        E: the constant of Lemma 1.
        beta: (1 + epsilon)^2 / (2 D^2 lam) - 1, more than -1/2.
        c_dropped: ((zeta - 1)^(-epsilon) - zeta^(-epsilon)) / epsilon.
        c_misclassified: the constant in `misclassified_rate`.
        step_size: the learning rate that the bound needs, D / (E T^(3/4)).
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
    """The critical margin at step t: (1 + epsilon) log(zeta T - t). Samples with smaller margins are kept.

    t runs from 0 to T - 1. The paper prints 1 to T, but then the sum in the second term is slightly wrong.

    >>> round(critical_margin(0, 100, 0.5, 1.5), 4)
    7.516
    """
    check_arguments("critical_margin", critical_margin, {"t": t, "T": T, "epsilon": epsilon, "zeta": zeta})
    if not 0 <= t < T:
        raise ValueError(f"critical_margin.t must be in [0, {T}), got {t}. Count steps from 0.")
    return (1 + epsilon) * log(zeta * T - t)


def lemma1(d: Steps, lam: Positive, T: Steps, mu: Positive) -> Lemma1:
    """Bound the norm of an input x ~ N(0, Sigma) with d features, by Chebyshev's inequality on its square.

    `lam` is the largest eigenvalue of Sigma. `mu` sets the probability.
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
    """Bound the expected share of misclassified samples beyond `kappa`: 2 Phi(-kappa / (D sqrt(lam)))."""
    check_arguments("misclassified_bound", misclassified_bound, {"kappa": kappa, "D": D, "lam": lam})
    return 2 * float(special.ndtr(-kappa / (D * sqrt(lam))))


def keep_at_least(T: Steps, zeta: AboveOne) -> float:
    """Lower bound of the expected share that the schedule keeps: 1 - 2 Phi(-log((zeta - 1) T + 1)).

    >>> round(1 - keep_at_least(120, 2.0), 7)
    1.6e-06
    """
    check_arguments("keep_at_least", keep_at_least, {"T": T, "zeta": zeta})
    return 1 - 2 * float(special.ndtr(-log((zeta - 1) * T + 1)))


def error_bound(radius: Positive, kappa: Positive, kept: Share, misclassified: Share) -> float:
    """Bound the distance between the gradient of the kept samples, divided by N, and that of all N samples.

    Args:
        radius: the largest norm of an input; E T^(1/4) in the theorem.
        kappa: the critical margin.
        kept: the share of samples that are kept.
        misclassified: the share of all samples that are dropped and misclassified.
    """
    given = {"radius": radius, "kappa": kappa, "kept": kept, "misclassified": misclassified}
    check_arguments("error_bound", error_bound, given)
    if kept + misclassified > 1 + 1e-9:
        raise ValueError(
            f"error_bound.misclassified must be <= {1 - kept:g}, because kept is {kept:g}, got "
            f"{misclassified!r}."
        )
    return radius * ((1 - kept - misclassified) / (1 + exp(kappa)) + misclassified)


def _exp(power: float) -> float:
    """exp(power), or infinity if it overflows double precision."""
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
    """Compute the bound of Theorem 2.2 after T steps. The module docstring lists the limits of the theorem.

    Args:
        T: the number of steps of gradient descent.
        d: the number of features.
        lam: the largest eigenvalue of the covariance of the inputs.
        D: the largest norm of the weights.
        epsilon: parameter of the critical margin; more than D sqrt(lam) - 1.
        zeta: parameter of the critical margin.
        mu: sets the probability 1 - alpha / mu; choose it much larger than alpha.
        alpha: samples per feature, N / d <= alpha.
        safe: use 2 D as the diameter in the two error terms.

    Raises:
        ValueError: if the theorem does not apply to an argument. The error names it.

    Warns:
        VacuousBoundWarning: if the bound is above log 2.
    """
    given = {"T": T, "d": d, "lam": lam, "D": D, "epsilon": epsilon, "zeta": zeta, "mu": mu, "alpha": alpha}
    check_arguments("dynams_bound", dynams_bound, given | {"safe": safe})
    if epsilon <= D * sqrt(lam) - 1:
        raise ValueError(
            f"dynams_bound.epsilon must be > D sqrt(lam) - 1 = {D * sqrt(lam) - 1:g}, got {epsilon!r}."
        )
    if mu <= alpha:
        raise ValueError(
            f"dynams_bound.mu must be > alpha = {alpha:g} for a positive probability, got {mu!r}."
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
            f"dynams_bound is {total:.3g}, above log 2 = 0.693, the loss at w = 0. It gives no information.",
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
