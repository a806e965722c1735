"""Suspected label errors: a ranking from recorded scores, and how many injected wrong labels it finds."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from samplewise import trackers
from samplewise.checks import check_arguments, require
from samplewise.coresets.table import ScoreTable
from samplewise.data.byid import class_numbers, numbers

__all__ = ["Detection", "Suspects", "cleanlab_label_errors", "detection", "suspected_label_errors"]

Quality = Literal["self_confidence", "normalized_margin", "confidence_weighted_entropy"]
_HIGH_IS_RIGHT = {
    *("confidence", "correct", "target_probability", "target_log_probability"),
    *("probability_margin", "logit_margin", "signed_margins"),
}
"""Signals that are low where the label may be wrong."""
_KEEP_DIRECTION = (trackers.Ema, trackers.Last, trackers.Mean)
"""Trackers whose value is high where the signal was."""
_WORDS = ("margin", "confidence", "probability", "quality")
"""A column of another kind, with such a word in its name, is low where the label may be wrong."""


@dataclass(frozen=True)
class Suspects:
    """Samples ranked by how likely their label is wrong.

    Attributes:
        name: what ranks them.
        ids: of the samples, the most suspected first. Equal scores are in the order of the ids.
        scores: of the samples in this order. A higher score is more suspected. NaN: never observed, at the
            end.
        lowest: whether these are the negatives of what was recorded, because low values are suspected.
    """

    name: str
    ids: Int[Tensor, " n"]
    scores: Float[Tensor, " n"]
    lowest: bool = False

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def ranked(
        cls, name: str, ids: Int[Tensor, " n"], scores: Float[Tensor, " n"], lowest: bool = False
    ) -> "Suspects":
        """Sort samples by their scores: the highest first, or the lowest."""
        scores = -scores.double() if lowest else scores.double()
        unknown = scores.isnan()
        order = torch.from_numpy(np.lexsort((ids.numpy(), -scores.numpy(), unknown.numpy())))
        return cls(name, ids[order], scores[order], lowest)


@dataclass(frozen=True)
class Detection:
    """How well a ranking finds the wrong labels.

    There is a threshold at each different score. The samples at or above it are taken as wrong.

    Attributes:
        name: what ranks.
        n: the number of samples.
        wrong: the number of wrong labels.
        taken: the number of samples at or above each threshold, ascending. The last is n.
        found: the number of wrong labels among them.
    """

    name: str
    n: int
    wrong: int
    taken: Int[Tensor, " t"]
    found: Int[Tensor, " t"]

    @cached_property
    def precision(self) -> Float[Tensor, " t"]:
        """The share of wrong labels among the samples that each threshold takes."""
        return self.found.double() / self.taken

    @cached_property
    def recall(self) -> Float[Tensor, " t"]:
        """The share of the wrong labels that each threshold takes."""
        return self.found.double() / self.wrong

    @property
    def average_precision(self) -> float:
        """The sum over the thresholds of precision times the gain in recall, as in scikit-learn."""
        gain = self.recall.diff(prepend=torch.zeros(1, dtype=torch.float64))
        return float((self.precision * gain).sum())

    @property
    def chance(self) -> float:
        """The precision of a random ranking."""
        return self.wrong / self.n

    def found_in(self, k: int) -> float:
        """The number of wrong labels among the first k. Of equal scores, the expected number is taken."""
        if not 1 <= k <= self.n:
            raise ValueError(f"k must be in [1, {self.n}], got {k}.")
        at = int(torch.searchsorted(self.taken, k))
        before = (int(self.taken[at - 1]), int(self.found[at - 1])) if at else (0, 0)
        share = (k - before[0]) / (int(self.taken[at]) - before[0])
        return before[1] + share * (int(self.found[at]) - before[1])

    def precision_at(self, k: int) -> float:
        """The share of wrong labels among the first k."""
        return self.found_in(k) / k

    def recall_at(self, k: int) -> float:
        """The share of the wrong labels that is among the first k."""
        return self.found_in(k) / self.wrong


def suspected_label_errors(table: ScoreTable, by: str, *, lowest: bool | None = None) -> Suspects:
    """Rank the samples of a table by a score: the most suspected first.

    Wrong labels are hard to fit. So their loss, EL2N and forgetting are high, and their margin and confidence
    are low. Scores of static methods are higher where a sample is harder, so `aum` is minus the area under
    the margin. A spread such as `dyn_unc` is high for samples that are learnt late. That is a weak sign.

    Args:
        table: scores of one training, as `selector.table()` or `samplewise score` make it.
        by: the name of a column.
        lowest: whether low values are suspected. None: as the recorded method says, such as True for
            `aum(highest=True)`. For a column that is not of a recipe: whether `margin`, `confidence`,
            `probability` or `quality` is in its name.

    Raises:
        ValueError: if the table has no such column, or the column has no number.

    >>> table = ScoreTable([0, 1, 2], {"el2n": [0.2, 1.3, 0.9]}, [5, 5, 5])
    >>> suspected_label_errors(table, "el2n").ids
    tensor([1, 2, 0])
    """
    column = table[by].double()
    if bool(column.isnan().all()):
        raise ValueError(
            f"column {by!r} must have a score of at least one sample, but no sample was ever observed."
        )
    if lowest is None:
        lowest = _low_is_wrong(table, by)
    return Suspects.ranked(by, table.ids, column, lowest)


def cleanlab_label_errors(probabilities: Any, labels: Any, how: Quality = "self_confidence") -> Suspects:
    """Rank samples by the label quality of cleanlab, from predicted probabilities. The worst comes first.

    cleanlab recommends predictions of models that did not train on the sample. Probabilities that were
    recorded while training are of a model that did.

    Args:
        probabilities: of every class, (n, C): row i is of sample i.
        labels: as they are given, with the wrong ones, (n,).
        how: cleanlab's score: the probability of the label, its margin, or the entropy divided by it.

    Raises:
        ValueError: if the probabilities and labels do not fit.
        ImportError: if cleanlab is not installed.
    """
    check_arguments("cleanlab_label_errors", cleanlab_label_errors, {"how": how})
    found = np.asarray(probabilities, dtype=np.float64)
    if found.ndim != 2 or not found.size:
        raise ValueError(
            f"probabilities must have a row for each sample and a column for each class, got shape "
            f"{found.shape}."
        )
    if len(labels) != len(found):
        raise ValueError(
            f"probabilities must have a row for each of the {len(labels)} labels, got {len(found)} rows."
        )
    given = class_numbers("labels", labels, len(found)).numpy()
    if int(given.max()) >= found.shape[1]:
        raise ValueError(
            f"labels must be in [0, {found.shape[1]}), the columns of the probabilities, got "
            f"{int(given.max())}."
        )
    # NaN fails this comparison, too.
    odd = ~((found >= 0).all(1) & (np.abs(found.sum(1) - 1) < 1e-3))
    if odd.any():
        raise ValueError(
            f"probabilities must be >= 0 and sum to 1 in every row, but not those of ids "
            f"{odd.nonzero()[0][:5].tolist()}. Apply softmax to logits."
        )
    # A mean of float32 probabilities may be above 1 by rounding, and cleanlab refuses that.
    found = found / found.sum(1, keepdims=True)
    rank = require("cleanlab.rank", "analysis")
    quality = rank.get_label_quality_scores(given, found, method=how)
    return Suspects.ranked(
        f"cleanlab {how}", torch.arange(len(found)), torch.from_numpy(quality), lowest=True
    )


def detection(suspects: Suspects, wrong: Any) -> Detection:
    """Precision and recall of a ranking against the labels that are known to be wrong.

    Samples that were never observed are the least suspected.

    Args:
        suspects: the ranking.
        wrong: a truth value for each sample of the data set, entry i of sample i: True if the label is wrong.

    Raises:
        ValueError: if `wrong` is of another length, holds no truth values, or no or only wrong labels.

    >>> ranked = Suspects.ranked("loss", torch.arange(4), torch.tensor([0.1, 3.0, 2.0, 0.4]))
    >>> found = detection(ranked, [False, True, False, True])
    >>> found.precision.tolist(), found.recall.tolist()
    ([1.0, 0.5, 0.6666666666666666, 0.5], [0.5, 0.5, 1.0, 1.0])
    """
    mask = _mask(wrong)
    n = int(suspects.ids.max()) + 1
    if len(mask) < n or (len(mask) > n and n == len(suspects)):
        raise ValueError(
            f"wrong must have one truth value for each of the {n} samples, got {len(mask)}. Give the mask of "
            "the same training data."
        )
    hits = mask[suspects.ids]
    total = int(hits.sum())
    if total in (0, len(hits)):
        raise ValueError(
            f"wrong must hold right and wrong labels, but {total} of {len(hits)} are wrong: there is nothing "
            "to find."
        )
    scores = suspects.scores
    changes = (scores[1:] != scores[:-1]) & ~(scores[1:].isnan() & scores[:-1].isnan())
    last = torch.cat([changes, torch.ones(1, dtype=torch.bool)]).nonzero().squeeze(1)
    return Detection(suspects.name, len(hits), total, last + 1, hits.long().cumsum(0)[last])


def _mask(wrong: Any) -> Bool[Tensor, " n"]:
    """Truth values as a tensor; 0 and 1 are fine too."""
    if isinstance(wrong, Tensor) and wrong.dtype == torch.bool and wrong.ndim == 1:
        return wrong.cpu()
    found = numbers("wrong", wrong)
    if not bool(((found == 0) | (found == 1)).all()):
        odd = found[(found != 0) & (found != 1)][0]
        raise ValueError(f"wrong must hold truth values, or 0 and 1, got {float(odd):g}.")
    return found.bool()


def _low_is_wrong(table: ScoreTable, by: str) -> bool:
    """Whether low values of a column are a sign of a wrong label, as far as the recorded method tells."""
    try:
        policy = table.policy(by)
    except (ValueError, TypeError):  # a column that is not the score of a static method
        return any(word in by for word in _WORDS)
    signals = {signal.__name__ for signal in policy.signals}
    return isinstance(policy.tracker, _KEEP_DIRECTION) and bool(signals) and signals <= _HIGH_IS_RIGHT
