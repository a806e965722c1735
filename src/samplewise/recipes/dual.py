"""DUAL: difficulty times uncertainty early in training, and a draw by a Beta density (arXiv:2502.06905)."""

from typing import Annotated, Literal

from samplewise import pickers, signals, trackers
from samplewise.checks import Range, Share
from samplewise.policy import Policy, recipe

__all__ = ["PUBLISHED", "dual"]

Data = Literal["cifar10", "cifar100", "imagenet"]

PUBLISHED: dict[Data, tuple[int, int, float]] = {
    "cifar10": (30, 200, 5.5),
    "cifar100": (30, 200, 4.0),
    "imagenet": (60, 90, 11.0),
}
"""For each data set: the epochs recorded, the epochs of the whole training, and the exponent c_D."""


@recipe(paper="arXiv:2502.06905", level="static", source="training")
def dual(
    keep: Share = 0.5,
    T: Annotated[int | None, Range(2)] = None,  # noqa: N803 - the paper's letter
    window: Annotated[int | None, Range(2)] = None,
    exponent: Annotated[float | None, Range(0, open_low=True)] = None,
    total: Annotated[float, Range(0, open_low=True)] = 15.0,
    data: Data = "cifar10",
    choice: Literal["beta", "top"] = "beta",
    balance: bool = False,
) -> Policy:
    """Draw samples that were difficult and uncertain early in training; draw easier ones when few are kept.

    The score is the mean over all windows of (1 - mean) x standard deviation of the target's probability.
    A window is `window` = J consecutive epochs of the first `T`. Its standard deviation is unbiased.

    Samples are drawn without replacement, P ~ score x Beta density of the mean probability over the T
    epochs. With r = 1 - keep, the density has b = C (1 - m) (1 - r ** `exponent`) and a = `total` - b. C is
    15; m is the mean probability of the 10 samples with the highest scores; `exponent` is c_D. The draw is
    over all samples. `choice="top"` keeps the highest scores instead: the paper's DUAL without sampling.

    `data` sets the defaults of `T` and `exponent`: 30 epochs of 200 and 5.5 (cifar10) or 4 (cifar100), 60 of
    90 and 11 (imagenet). `T` is scaled to the length of the training. It is at least one window of 10 epochs,
    or all epochs of a shorter training. `total` is C by default, so the mean of the density is m at r = 0.
    With `balance`, m is computed for each class.

    Checked against the official code: the score, J = 10, T = 30 and 60, C = 15, m from 10 samples, and the
    exponents 4 and 11. The code has a + b = 16 (`total=16`). It multiplies scores by 10, which changes no
    choice. The time costs in the paper's abstract, 15 % and 66 %, agree with 30 of 200 and 60 of 90 epochs.
    Not checked: the exponent 5.5 and `total=15`. The code does not contain them. Check them in the paper
    before you compare results with it.

    Refused: a training shorter than `T`, or of fewer than 2 epochs.

    Signal: probability of the target. Memory: 8 bytes a sample when final, 4 K + 16 while recording
    (K = `window`). Choice: a weighted draw. Cost: no forward beyond `T` epochs of a training on everything.
    """
    epochs, length, published = PUBLISHED[data]
    drawn = pickers.BetaDrawn(keep, published if exponent is None else exponent, total=total)
    inner = pickers.TopK(keep) if choice == "top" else drawn
    return Policy(
        signal=signals.target_probability,
        tracker=trackers.DifficultySpread(T, window, (epochs, 10), length),
        picker=inner.balanced(balance),
        source="training",
        final="end",
    )
