"""The length of a training: strategies E and P, and runs with the same number of samples."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Annotated, NamedTuple

from samplewise.checks import Range, Share, check_arguments, nearest
from samplewise.pickers.ranking import budget
from samplewise.policy import Policy
from samplewise.schedules.epochs import resolve

STRATEGIES = ("E", "P")
# Tolerance for rounding errors: a share such as 0.3 - 0.1 may be slightly above its exact value.
_TOLERANCE = 1e-9

Positive = Annotated[int, Range(1)]


class Training(NamedTuple):
    """The length of a training and the size of its batches."""

    epochs: int
    batch_size: int


def strategy(
    name: str, keep: Share, epochs: Positive, batch_size: Positive, fixed_batch: bool = False
) -> Training:
    """Return the epochs and batch size to train on the share `keep`.

    `epochs` and `batch_size` are those of a training on all data.

    Strategy "E" keeps the number of epochs, so training has fewer steps. To limit this, the batch size is
    halved for keep <= 0.2 and divided by 4 for keep <= 0.1, but stays at least 2. With `fixed_batch` it does
    not change. Strategy "P" multiplies the epochs by 1 / keep, rounded half up, so training sees about the
    same number of samples. The batch size does not change.

    A schedule that depends on progress fits by itself. For milestones use `scaled_milestones`. The learning
    rate stays the same.

    Source: temporal dual-depth scoring (arXiv:2311.13613), with batches of 128, 64 and 32.

    >>> strategy("E", 0.1, 200, 128), strategy("P", 0.3, 200, 128)
    (Training(epochs=200, batch_size=32), Training(epochs=667, batch_size=128))
    """
    check_arguments("strategy", strategy, locals())
    if name not in STRATEGIES:
        words = " or ".join(map(repr, STRATEGIES))
        raise ValueError(f"strategy must be {words}, got {name!r}.{nearest(name, STRATEGIES)}")
    if name == "P":
        return Training(equalised_epochs(epochs, keep), batch_size)
    if fixed_batch or keep > 0.2 + _TOLERANCE:
        return Training(epochs, batch_size)
    part = batch_size // (4 if keep <= 0.1 + _TOLERANCE else 2)
    return Training(epochs, min(batch_size, max(2, part)))


def equalised_epochs(epochs: Positive, keep: Share) -> int:
    """Epochs on the share `keep` that see as many samples as `epochs` on all data.

    This is epochs / keep, rounded half up.

    >>> equalised_epochs(200, 0.2), equalised_epochs(200, 0.3), equalised_epochs(5, 0.4)
    (1000, 667, 13)
    """
    check_arguments("equalised_epochs", equalised_epochs, locals())
    return _half_up(epochs / keep)


def planned_samples(policy: Policy, n: Positive, batch_size: Positive, epochs: Positive) -> int | None:
    """How many samples `epochs` epochs of a method back-propagate, on n samples in batches of `batch_size`.

    None if that depends on scores, as for `infobatch`: then it is known only while training.

    >>> from samplewise import recipes
    >>> planned_samples(recipes.ucb(keep=0.3), 1000, 50, 200)
    60000
    >>> planned_samples(recipes.infobatch(), 1000, 50, 200) is None
    True
    """
    policy, total = policy.sized(n), 0
    for epoch in range(epochs):
        begun = resolve(policy.picker, epoch - epoch % policy.every, epochs)
        k, exact = (n, True) if begun is None else begun.size(n)
        rows = resolve(policy.batch_picker, epoch, epochs)
        if rows is not None:
            whole, rest = divmod(k, batch_size)
            full, known = rows.size(batch_size, 2)
            k, exact = whole * full + (rows.size(rest, 2)[0] if rest else 0), exact and known
        if not exact:
            return None
        total += k
    return total


def epochs_for_samples(policy: Policy, n: Positive, batch_size: Positive, epochs: Positive) -> int | None:
    """Epochs in which a method back-propagates as many samples as `epochs` epochs of ordinary training.

    The nearest whole number; None if the method's number of samples depends on scores.

    >>> from samplewise import recipes
    >>> epochs_for_samples(recipes.ucb(keep=0.3), 1000, 50, 200)
    667
    """
    wanted = n * epochs

    def planned(length: int) -> int:
        return planned_samples(policy, n, batch_size, length) or 0

    if planned_samples(policy, n, batch_size, epochs) is None:
        return None
    longest = epochs
    while planned(longest) < wanted:
        longest *= 2
    found = epochs + bisect_left(range(epochs, longest), wanted, key=planned)
    return found - (found > epochs and wanted - planned(found - 1) < planned(found) - wanted)


def scaled_milestones(milestones: Sequence[int], epochs: Positive, new_epochs: Positive) -> tuple[int, ...]:
    """Scale milestones from a training of `epochs` to one of `new_epochs`, rounded half up.

    >>> scaled_milestones((60, 120, 160), 200, equalised_epochs(200, 0.2))
    (300, 600, 800)
    """
    check_arguments("scaled_milestones", scaled_milestones, locals())
    outside = [m for m in milestones if not 0 <= m <= epochs]
    if outside:
        raise ValueError(f"milestones must be in [0, {epochs}], because epochs is {epochs}, got {outside}")
    return tuple(_half_up(milestone * new_epochs / epochs) for milestone in milestones)


def samples_seen(n: Positive, keep: Share, epochs: Annotated[int, Range(0)]) -> int:
    """The number of samples in `epochs` epochs on the share `keep` of n samples, with repetitions.

    >>> samples_seen(50_000, 0.2, 1000) == samples_seen(50_000, 1, 200) == 10_000_000
    True
    """
    check_arguments("samples_seen", samples_seen, locals())
    return budget(n, keep) * epochs


def _half_up(x: float) -> int:
    return math.floor(x + 0.5 + _TOLERANCE)
