"""How certain the three groups of selection counts are: Markov chain Monte Carlo with emcee."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float64

from samplewise.analysis.mixture import NARROWEST, Mixture, fit_mixture, log_densities, sum_of_logs
from samplewise.checks import Range, check_arguments, require
from samplewise.rng import generator

__all__ = ["Posterior", "sample_mixture"]

_WALKERS = 40
Draws = Float64[np.ndarray, "draws 3"]


@dataclass(frozen=True, eq=False)
class Posterior:
    """Draws of the mixture's parameters, from all walkers after the burn-in.

    Attributes:
        shares: pi of each draw (draws, 3): never, sometimes, always.
        means: mu of each draw, ascending.
        widths: s of each draw.
        histogram: the counts, as shares of the samples.
        acceptance: the share of the proposals that was accepted. Below 0.1, distrust the draws.
        independent: the number of draws divided by the autocorrelation time: as good as so many
            independent draws. Below about 200, take more steps.
    """

    shares: Draws
    means: Draws
    widths: Draws
    histogram: Float64[np.ndarray, " counts"]
    acceptance: float
    independent: float

    @property
    def mixture(self) -> Mixture:
        """The average of the parameters, as the paper does it."""
        shares = self.shares.mean(0)
        last = len(self.histogram) - 1
        return Mixture.of(shares / shares.sum(), self.means.mean(0), self.widths.mean(0), last)

    def interval(self, of: Draws) -> Float64[np.ndarray, "2 3"]:
        """The lower and the upper end of the middle 95 % of draws, such as `shares` or `groups()`."""
        ends: Float64[np.ndarray, "2 3"] = np.quantile(of, (0.025, 0.975), axis=0)
        return ends

    def groups(self) -> Draws:
        """The share of the samples in each group, by the limits of each draw: see `Mixture.limits`."""
        counts = np.arange(len(self.histogram))
        never = counts <= (self.means[:, 0] + self.widths[:, 0])[:, None]
        always = (counts >= (self.means[:, 2] - self.widths[:, 2])[:, None]) & ~never
        return np.stack([mask @ self.histogram for mask in (never, ~never & ~always, always)], 1)


def sample_mixture(
    histogram: Any,
    *,
    steps: Annotated[int, Range(10)] = 3000,
    burn_in: Annotated[int, Range(1)] = 1500,
    seed: Annotated[int, Range(0)] = 0,
    on_step: Callable[[float], None] | None = None,
) -> Posterior:
    """Draw from the posterior of the mixture, from walkers around the fit of maximum likelihood.

    Priors (the paper does not say its own): the shares are Dirichlet(1, 1, 1); the means ascend and are
    uniform on [0, N_c]; the widths are half-normal with the scale N_c / 4, from 0.5 on, because counts are
    whole numbers. The paper draws with Metropolis-Hastings; here it is emcee's ensemble of walkers.

    Args:
        histogram: how many samples have each count 0, 1, ..., N_c.
        steps: of each of 40 walkers, after the burn-in.
        burn_in: steps that are thrown away first.
        on_step: called after every step, with the share of all steps that is done.
        seed: of the walk. The global generator of numpy is neither read nor changed.

    Raises:
        ImportError: if emcee is not installed.
        ValueError: for a histogram that `fit_mixture` refuses, and steps or a seed out of range.
    """
    check_arguments("sample_mixture", sample_mixture, {"steps": steps, "burn_in": burn_in, "seed": seed})
    emcee = require("emcee", "analysis")
    start = fit_mixture(histogram)
    weights = np.asarray(histogram, dtype=np.float64)
    drawn = generator(seed, "posterior of the mixture").initial_seed()
    state = np.random.RandomState(drawn % 2**32)
    walkers = _inside(start, float(weights.sum()), state)
    moves = [(emcee.moves.DEMove(), 0.8), (emcee.moves.DESnookerMove(), 0.2)]
    sampler = emcee.EnsembleSampler(
        _WALKERS, 8, _log_posterior, args=(weights, start.checkpoints), vectorize=True, moves=moves
    )
    first = emcee.State(walkers, random_state=state.get_state())
    told: Callable[[float], None] = on_step or (lambda share: None)
    whole, settled = burn_in + steps, first
    for done, state_now in enumerate(sampler.sample(first, iterations=burn_in), 1):
        settled = state_now
        told(done / whole)
    sampler.reset()
    for done, _ in enumerate(sampler.sample(settled, iterations=steps), burn_in + 1):
        told(done / whole)
    flat = sampler.get_chain(flat=True)
    shares = np.column_stack([flat[:, :2], 1 - flat[:, :2].sum(1)])
    slowest = float(np.max(sampler.get_autocorr_time(tol=0)))
    return Posterior(
        shares, flat[:, 2:5], flat[:, 5:], weights / weights.sum(),
        float(np.mean(sampler.acceptance_fraction)), len(flat) / slowest,
    )  # fmt: skip


def _inside(start: Mixture, n: float, state: np.random.RandomState) -> Float64[np.ndarray, "walkers 8"]:
    """Walkers close to the fit and inside the bounds, as far apart as n samples leave it uncertain."""
    far = 1 / np.sqrt(max(n, 25.0))
    scatter = state.standard_normal((_WALKERS, 8)) * far
    shares = np.clip(np.array(start.shares) * np.exp(scatter[:, :3]), 1e-4, None)
    shares = shares / shares.sum(1, keepdims=True)
    means = np.array(start.means) + np.array(start.widths) * scatter[:, 3:6]
    means = np.sort(np.abs(means), 1)
    means = np.where(means > start.checkpoints, 2 * start.checkpoints - means, means)
    means = np.sort(np.clip(means, 0, start.checkpoints), 1)
    widths = np.array(start.widths) * np.exp(np.abs(state.standard_normal((_WALKERS, 3))) * far)
    return np.column_stack([shares[:, :2], means, widths])


def _log_posterior(
    x: Float64[np.ndarray, "walkers 8"], weights: Float64[np.ndarray, " counts"], checkpoints: int
) -> Float64[np.ndarray, " walkers"]:
    """The unnormalised logarithm; -inf outside the bounds."""
    shares = np.column_stack([x[:, :2], 1 - x[:, :2].sum(1)])
    means, widths = x[:, 2:5], x[:, 5:]
    fits = (shares > 0).all(1) & (np.diff(means, axis=1) >= 0).all(1) & (means[:, 0] >= 0)
    fits &= (means[:, 2] <= checkpoints) & (widths >= NARROWEST).all(1)
    found = np.full(len(x), -np.inf)
    at = np.flatnonzero(weights)
    each = log_densities(at.astype(np.float64), means[fits], widths[fits], checkpoints)
    likely = sum_of_logs(each + np.log(shares[fits])[..., None]) @ weights[at]
    found[fits] = likely - (widths[fits] ** 2).sum(1) / (2 * (checkpoints / 4) ** 2)
    return found
