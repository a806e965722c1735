"""DynaMS: selection by the margin to every class boundary, its proxy and its controls (OpenReview 2023)."""

from dataclasses import replace
from typing import Annotated, Literal

from samplewise import pickers, signals, trackers
from samplewise.checks import Range, Share
from samplewise.pickers import Budgeted, Keep, Nested
from samplewise.policy import Policy, recipe
from samplewise.schedules import Falling, Periods

__all__ = ["dyna_ce", "dyna_random", "dynams", "dynams_proxy", "online_ms"]

PAPER = "DynaMS (ICLR 2023)"

Period = Annotated[int, Range(1)]
Data = Literal["imagenet", "cifar10"]


def _nested(picker: Budgeted, nested: bool) -> Budgeted:
    return Nested(picker) if nested else picker


def _by_margins(shares: Periods, signed: bool, nested: bool) -> Policy:
    return Policy(
        signal=signals.signed_margins if signed else signals.margins,
        tracker=trackers.Margins(),
        picker=_nested(pickers.ClassBalanced(shares), nested),
        every=shares.period,
        source="pass",
    )


@recipe(paper=PAPER, level="epoch", source="pass")
def dynams(
    keep: Share = 0.6,
    schedule: Falling = "linear",
    period: Period = 10,
    signed: bool = False,
    nested: bool = False,
    data: Data = "imagenet",
    fit: bool = True,
) -> Policy:
    """Every `period` epochs, select for each class in turn the samples nearest to the boundary of that class.

    `keep` is the average share over the training. The first period trains on all samples (warm-up). Then the
    share is constant, or it falls from period to period (`linear` or `power`). On ImageNet the best numbers
    of the paper are those of `power`; on CIFAR-10 it has only `linear`, the default. `fit=True` shifts the
    shares so that their average is exactly `keep`. `fit=False` takes the published numbers for `data`
    unchanged (`schedules.PUBLISHED`). `data` has no effect with `fit=True`. The candidates are all samples;
    with `nested=True` only the samples of the period before. The paper's distances have no sign, so confident
    mistakes are left out. `signed=True` selects these first. Forward must return features, targets and the
    head.

    Signal: class margins. Memory: 4 bytes a sample, and 4 C more from a pass until its choice.
    Choice: class-balanced least margins. Cost: one forward over all n samples in every period but the first.
    """
    return _by_margins(Periods(keep, schedule, period, data, fit), signed, nested)


@recipe(paper=PAPER, level="epoch", source="pass")
def dynams_proxy(
    keep: Share = 0.6,
    schedule: Falling = "linear",
    period: Period = 10,
    signed: bool = False,
    nested: bool = False,
    data: Data = "imagenet",
    fit: bool = True,
) -> Policy:
    """As `dynams`, with the margins of a narrow view that shares the model's own parameters.

    Give the forward a proxy: `sw.classifier(model, head=..., proxy=sw.proxy.slim(model, ...))`. Every step
    trains on the loss of the model plus the loss of the narrow view. The passes run only the narrow view.
    With `keep=1` nothing is selected, and the narrow view is not trained.

    Signal: class margins of the narrow view. Memory: 4 bytes a sample, and 4 C more from a pass until
    its choice. Choice: class-balanced least margins.
    Cost: the narrow forward and backward in every step, and one narrow forward over all n samples in
    every period but the first. Each counts as the narrow view's share of the model's FLOPs.
    """
    made = _by_margins(Periods(keep, schedule, period, data, fit), signed, nested)
    return replace(made, proxy=keep < 1)


@recipe(paper=PAPER, level="epoch", source="none")
def dyna_random(
    keep: Share = 0.6,
    schedule: Falling = "linear",
    period: Period = 10,
    nested: bool = False,
    data: Data = "imagenet",
    fit: bool = True,
) -> Policy:
    """A control for `dynams`: the same periods and shares, with uniform draws.

    Signal: none. Memory: 0 bytes a sample. Choice: uniform. Cost: no forward beyond training.
    """
    shares = Periods(keep, schedule, period, data, fit)
    return Policy(picker=_nested(pickers.Uniform(shares), nested), every=period)


@recipe(paper=PAPER, level="epoch", source="pass")
def dyna_ce(
    keep: Share = 0.6,
    schedule: Falling = "linear",
    period: Period = 10,
    nested: bool = False,
    data: Data = "imagenet",
    fit: bool = True,
) -> Policy:
    """A control for `dynams`: the same periods and shares, with the largest losses of all classes together.

    Signal: loss. Memory: 4 bytes a sample. Choice: top-k.
    Cost: one forward over all n samples in every period but the first.
    """
    shares = Periods(keep, schedule, period, data, fit)
    return Policy(
        signal=signals.loss,
        tracker=trackers.Last(),
        picker=_nested(pickers.TopK(shares), nested),
        every=period,
        source="pass",
    )


@recipe(paper=PAPER, level="batch", source="training")
def online_ms(keep: Keep = 0.6) -> Policy:
    """A control for `dynams` at batch level: train on the rows nearest to any class boundary.

    The paper names this control but does not define it. Forward must return features, targets and the head.

    Signal: minus the least class margin. Memory: 4 bytes a sample. Choice: top-k.
    Cost: one scoring forward over every meta-batch.
    """
    return Policy(
        signal=signals.nearness,
        tracker=trackers.Last(),
        batch_picker=pickers.TopK(keep),
        source="training",
    )
