"""The results of a text model on a split."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Num
from torch import Tensor

from samplewise.checks import require

__all__ = ["CLASSES", "NUMBERS", "results"]

CLASSES = ("accuracy", "loss", "worst_class", "matthews")
"""The results of a classification: accuracies and Matthews correlation in percent, mean loss in nats."""
NUMBERS = ("pearson", "spearman", "loss")
"""The results of a regression: correlations in percent, and the mean squared error."""


def results(logits: Float[Tensor, "b c"], targets: Num[Tensor, " b"], classes: int) -> dict[str, float]:
    """The results of predictions, by name.

    Args:
        logits: one column for each class, or one column of predicted numbers.
        targets: class numbers, or numbers.
        classes: 0 for a regression.

    Returns:
        those of `CLASSES` or of `NUMBERS`. Correlations are multiplied by 100, as the GLUE tables have
        them. A correlation is 0 where all predictions are equal.

    >>> found = results(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1]), 2)
    >>> found["accuracy"], found["matthews"]
    (100.0, 100.0)
    """
    if not classes:
        return _numbers(logits[:, 0].double().numpy(), targets.double().numpy())
    found = logits.argmax(1)
    sizes = torch.bincount(targets, minlength=classes)
    by_class = torch.bincount(targets[found == targets], minlength=classes)[sizes > 0] / sizes[sizes > 0]
    matthews = require("sklearn.metrics", "bench").matthews_corrcoef(targets.numpy(), found.numpy())
    return {
        "accuracy": 100 * int((found == targets).sum()) / len(targets),
        "loss": float(F.cross_entropy(logits.double(), targets)),
        "worst_class": 100 * float(by_class.min()),
        "matthews": 100 * float(matthews),
    }


def _numbers(found: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    stats = require("scipy.stats", "bench")
    error = float(np.mean((found - targets) ** 2))
    if not np.isfinite(error):
        return {"pearson": float("nan"), "spearman": float("nan"), "loss": error}
    flat = np.ptp(found) == 0 or np.ptp(targets) == 0
    return {
        "pearson": 0.0 if flat else 100 * float(stats.pearsonr(found, targets).statistic),
        "spearman": 0.0 if flat else 100 * float(stats.spearmanr(found, targets).statistic),
        "loss": error,
    }
