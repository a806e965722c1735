"""`TextTask`: the definition of one fine-tuning, and which methods can do it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from samplewise.bench.settings import Settings
from samplewise.bench.text.data import TextData
from samplewise.bench.text.encoder import Encoder
from samplewise.bench.text.metrics import CLASSES, NUMBERS
from samplewise.cost.energy import EnergyMeter
from samplewise.integrations.loggers import EpochLogger
from samplewise.policy import Policy

__all__ = ["TextTask", "metrics_of", "refuse_method"]


@dataclass(frozen=True)
class TextTask:
    """The definition of one fine-tuning.

    Args:
        method: its name.
        policy: a `Policy` or the user's own method.
        seed: of the head, of dropout and of every choice.
        data: texts and labels.
        encoder: the model without its head.
        settings: of this run.
        baseline_seconds: of an ordinary run with the same seed, if it is known.
        stretch: its epochs for each epoch of ordinary training.
        best_by: the result that chooses the best epoch, if the data have a validation split.
        loggers: get the numbers of every epoch.
        meter: tells the energy of the run.
    """

    method: str
    policy: Any
    seed: int
    data: TextData
    encoder: Encoder
    settings: Settings
    baseline_seconds: float | None = None
    stretch: float = 1.0
    best_by: str | None = None
    loggers: tuple[EpochLogger, ...] = ()
    meter: EnergyMeter | None = None


def metrics_of(data: TextData) -> tuple[str, ...]:
    """The results of a run on these data. The first one is the most usual."""
    return CLASSES if data.classes else NUMBERS


def refuse_method(method: str, policy: Any, data: TextData) -> None:
    """Raise if a method needs what a fine-tuning does not have.

    Args:
        method: as written.
        policy: what its recipe makes. The Trainer checks it further.
        data: the method is to train on.

    Raises:
        ValueError: if it needs features of the last layer, or classes where labels are numbers.
    """
    if not isinstance(policy, Policy):
        return
    lacks = [name for name in ("features", "head") if name in policy.needs]
    if lacks or "gradient_norm" in policy.reads:
        what = " and ".join(lacks) or "gradients of single samples"
        raise ValueError(
            f"{method:.200} needs {what}, which the Trainer does not give. Use a method of losses or logits, "
            "or compute features once and train with --model mlp."
        )
    classes = [name for name in ("logits", "targets") if name in policy.needs]
    if not data.classes and (classes or policy.by_class):
        why = f"needs {' and '.join(classes)} of classes" if classes else "chooses by class"
        raise ValueError(
            f"{method:.200} {why}, but the labels of {data.name} are numbers. Use a method that needs only "
            "losses, such as infobatch or evolved_sampling."
        )


def about(data: TextData, n: int, digest: str, encoder: Encoder) -> Mapping[str, Any]:
    """What `config.json` holds of the data.

    Args:
        data: as they are read.
        n: the samples that a run trains on.
        digest: of the data.
        encoder: that is trained.
    """
    return {
        "name": data.name,
        "train": n,
        "test": len(data.test_y),
        "classes": data.classes,
        "metric": metrics_of(data)[0],
        "texts": data.train_x.shape[1],
        "class_names": list(data.class_names),
        "test_split": data.test_split,
        "sha256": digest,
        "encoder_sha256": encoder.digest,
    }
