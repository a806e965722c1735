"""`noise_budget`: as few samples as a budget of gradient noise allows. A method of this project."""

from typing import Annotated, Literal

from samplewise import pickers, signals, trackers
from samplewise.checks import Range
from samplewise.policy import Policy, recipe
from samplewise.schedules import Between, Schedule

__all__ = ["noise_budget"]

_SIGNALS: dict[str, signals.Signal] = {
    "el2n": signals.el2n,
    "loss": signals.error_probability,
    "grand": signals.grand,
}


@recipe(
    paper="-",
    level="epoch",
    source="training",
    hints={
        "keep": "The share follows from the noise that is allowed. Give noise=...: more noise keeps less."
    },
)
def noise_budget(
    noise: Annotated[float | Schedule, Range(0)] = 0.5,
    least: Annotated[float, Range(0.001, 1)] = 0.1,
    until: Annotated[float, Range(0, 1)] = 0.875,
    signal: Literal["el2n", "loss", "grand"] = "el2n",
    normalize: Literal["mean1", "none"] = "mean1",
    rate: Annotated[float, Range(0, 1, open_low=True)] = 1.0,
) -> Policy:
    """Keep each sample with a probability that follows its gradient, and give it the inverse as weight.

    g is the norm of a sample's gradient when it was last trained on. Sample i stays with probability
    pi = clip(g / tau, least, 1) and weight 1 / pi, so the gradient of the epoch is that of all samples in the
    mean. tau is the largest number for which the noise inflation R = sum(g^2 / pi) / sum(g^2) is at most
    1 + noise. These are the fewest samples for this R (docs/noise_budget.md). There is no `keep`: the share
    follows from the data in every epoch. `Ledger.selections` and `table().provenance["selections"]` tell it.

    `noise` is at most 1 / least - 1; 0 is ordinary training. No weight is above 1 / least. Samples that were
    never seen are kept, with weight 1. From the share `until` of the epochs on, every sample trains with
    weight 1.

    `signal` says what g is. `el2n` is the norm of the gradient of plain cross-entropy at the logits, `grand`
    that at the last layer; both need logits and targets, and `grand` the features too. `loss` is
    1 - exp(-loss), which needs the loss alone. For plain cross-entropy this is 1 - p, for the probability p
    of the target, and `el2n` is between that and sqrt 2 times that. With label smoothing it is wrong: the
    smallest loss is above 0, so g stays above 0 where the gradient is 0. With a class weight w it is
    1 - p^w, while the gradient is w times that without weights. For other losses it has no meaning. Losses
    must not be negative.

    With `normalize="mean1"` the weights are divided by their mean over the epoch, so steps have the size
    that they have without selection, and the epoch moves less. With `"none"` a batch is the mean of weight *
    loss, as in InfoBatch, and the mean step is n / sum(pi) times as long. `rate` below 1 stores a running
    mean of g: the weight of the newest value.

    In the study `noise-budget` no form of it is shown to be better than a shorter training of the same cost,
    and with `noise=0.5` it is worse than InfoBatch and than random draws. `rate=0.3` is better than 1 there.

    Signal: el2n, or what `signal` says. Memory: 4 bytes a sample. Choice: systematic draw by g.
    Cost: no forward beyond training.
    """
    return Policy(
        signal=_SIGNALS[signal],
        tracker=trackers.Last() if rate == 1 else trackers.Ema(rate),
        picker=pickers.NoiseBudget(Between(noise, outside=0.0, stop=until), least, normalize),
        source="training",
    )
