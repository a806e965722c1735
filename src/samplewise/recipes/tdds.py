"""TDDS, temporal dual-depth scoring: how unevenly predictions change inside windows (arXiv:2311.13613)."""

from typing import Annotated, Literal

from samplewise import pickers, signals, trackers
from samplewise.checks import Range, Share
from samplewise.policy import Policy, Weighting, recipe

__all__ = ["published", "tdds"]

Data = Literal["cifar10", "cifar100", "imagenet", "imagenet_swin"]

# (T, K) by the share pruned, and the epochs of the recorded run.
_TABLES: dict[str, dict[float, tuple[int, int]]] = {
    "cifar10": {0.3: (70, 10), 0.5: (90, 10), 0.7: (80, 10), 0.8: (30, 10), 0.9: (10, 5)},
    "cifar100": {0.3: (90, 10), 0.5: (70, 10), 0.7: (60, 20), 0.8: (20, 10), 0.9: (10, 5)},
    "imagenet": {0.3: (20, 10), 0.5: (20, 10), 0.7: (30, 20)},
    "imagenet_swin": {0.25: (200, 10), 0.3: (180, 10), 0.4: (150, 10), 0.5: (100, 10)},
}
_CLASSES: dict[int, Data] = {10: "cifar10", 100: "cifar100", 1000: "imagenet"}
_EPOCHS: dict[Data, int] = {"cifar10": 200, "cifar100": 200, "imagenet": 90, "imagenet_swin": 300}
_SIGNALS: dict[str, signals.Signal] = {
    "kl": signals.probabilities,
    "ce": signals.target_log_probability,
    "el2n": signals.el2n,
}


def published(keep: float, data: Data = "cifar10") -> tuple[int, int]:
    """The paper's (T, K) for the nearest published share pruned; of two equally near, the larger keep.

    >>> published(0.3), published(0.4), published(0.1, "imagenet")
    ((80, 10), (90, 10), (30, 20))
    """
    table = _TABLES[data]
    return table[min(table, key=lambda pruned: (round(abs(pruned - (1 - keep)), 9), pruned))]


@recipe(paper="arXiv:2311.13613", level="static", source="training")
def tdds(
    keep: Share = 0.5,
    T: Annotated[int | None, Range(3)] = None,  # noqa: N803 - the paper's letter
    window: Annotated[int | None, Range(3)] = None,
    beta: Annotated[float, Range(0, 1, open_low=True)] = 0.9,
    depth1: Literal["kl", "ce", "el2n"] = "kl",
    absolute: Literal["inside", "outside", "none"] = "inside",
    sqrt: bool = True,
    average: Literal["ema", "mean"] = "ema",
    data: Data | Literal["auto"] = "cifar10",
    half: bool = False,
    weighting: Weighting | Literal["raw"] = "per_sample",
    balance: bool = False,
) -> Policy:
    """Keep the samples whose predictions change most unevenly over the first `T` epochs.

    Depth 1 is the change of a sample's probabilities from one epoch to the next, summed over classes.
    Depth 2 is the spread of depth 1 inside each `window` = K of epochs. The windows are averaged with weight
    `beta` on the newest, so the last window before `T` has by far the most weight.

    `T` and `window` default to the published numbers for `keep` and `data`, the data set whose table is
    taken. Give the one that is most like yours, or `"auto"`: 10, 100 or 1,000 classes of your labels decide
    (for ImageNet the table of ResNet-34), and any other number is refused. `T` is scaled to the length of the
    training. The other defaults (`absolute="inside"`, `sqrt=True`) follow the official code, which reproduces
    the paper's numbers, and not eqs. 10 and 11. These are `absolute="outside", sqrt=False, window=K + 1,
    T=T + 1`: eq. 11 has K changes in a window, and the code's K epochs have K - 1. Ablations: `depth1="ce"`
    (change of the target's log-probability; with `absolute="none"` its signed change), `depth1="el2n"` (the
    spread of EL2N itself), `average="mean"`.

    In training each kept sample is weighted by its score, scaled to [0, 1] over the whole data set, as in the
    official code. Eq. 13 has the score itself: `weighting="raw"`. The official code also multiplies batch
    means, and not samples: `weighting="batch_mean"`. `half=True` keeps snapshots in
    float16. Then at least 99 % of the kept set stays the same while samples are still being learned, and 96 %
    when most samples are learned (measured on drawn trajectories, see the tests).

    Refused: a training shorter than `T`, and samples missing or repeated in a recorded epoch.

    Signal: p. Memory: 4 bytes a sample when final, 8 C + 4 K + 1 while recording (4 C + 4 K + 1 with
    `half`). Choice: top-k. Cost: no forward beyond `T` epochs of a training on everything.
    """
    numbers: tuple[tuple[int, tuple[int, int], int], ...] = ()
    if data == "auto":
        data = "cifar10"
        numbers = tuple((c, published(keep, name), _EPOCHS[name]) for c, name in _CLASSES.items())
    table = (published(keep, data), _EPOCHS[data], numbers)
    return Policy(
        signal=_SIGNALS[depth1],
        tracker=trackers.DualDepth(T, window, beta, depth1, absolute, sqrt, average, half, *table),
        picker=pickers.TopK(keep).balanced(balance),
        source="training",
        final="end",
        weighting=weighting,
    )
