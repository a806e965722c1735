"""The numbers of an epoch that loggers get."""

from math import isfinite

import torch
from jaxtyping import Shaped
from torch import Tensor

from samplewise.selector import Selector

__all__ = ["QUANTILES", "epoch_values"]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def epoch_values(selector: Selector) -> dict[str, float]:
    """The numbers of a selector after an epoch: counts, cost, savings, seconds, scores.

    - `kept_share`: samples that the epoch back-propagated, beside ordinary training.
    - The numbers of `Ledger.as_dict()`: `samples_backpropagated`, `cost`, `cost_share`, `promised`,
      `realised` (if the time of ordinary training is known), `wall`, `overhead`, `seconds_data`,
      `seconds_scoring`, `seconds_selecting`, `seconds_training` and others. They add up over the training.
    - `last_...`: what the method tells about its last selection, such as the share of every group.
    - `score_missing`: the share of the samples that were never observed. `score_q05` to `score_q95`:
      quantiles of the score of the others. For methods that keep a score.

    Everything is of this process; scores are of all samples. No other process is asked.
    """
    told = {"kept_share": selector.ledger.kept_share} | selector.ledger.as_dict()
    found = {
        name: float(value)
        for name, value in told.items()
        if isinstance(value, int | float) and isfinite(value)
    }
    return found | _scores(selector)


def _scores(selector: Selector) -> dict[str, float]:
    try:
        scores = selector.engine.score()
    except ValueError:  # the method keeps no score
        return {}
    return quantiles(scores)


def quantiles(scores: Shaped[Tensor, " n"]) -> dict[str, float]:
    """The share of NaN, and quantiles of the others: the smallest values with at least this share below.

    >>> quantiles(torch.tensor([4.0, 1.0, 2.0, float("nan")]))["score_q50"]
    2.0
    """
    if not len(scores) or scores.is_complex():
        return {}
    known = scores.detach().double() if scores.dtype in (torch.int64, torch.bool) else scores.detach().float()
    known = known[~known.isnan()]
    found = {"score_missing": 1 - len(known) / len(scores)}
    for q in QUANTILES if len(known) else ():
        value = float(known.kthvalue(max(1, -int(-q * len(known) // 1))).values)
        if isfinite(value):
            found[f"score_q{round(100 * q):02d}"] = value
    return found
