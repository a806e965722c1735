"""`Scorer`: another, small model that gives the scores, and the checks before it works."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from samplewise.checks import Range, checked
from samplewise.engine.engine import Engine
from samplewise.schedules import Schedule

__all__ = ["Scorer", "as_scorer", "check_scorer", "forward_for"]


@checked
@dataclass(frozen=True)
class Scorer:
    """Another, small model that gives the scores. It is trained beside the model, on the same batches.

    It sees every meta-batch before rows are chosen, with the same augmentation, and trains on every k-th of
    them with an optimizer of its own. Its loss is the mean over all rows. The same trick, with `every=4`, is
    in the CIFAR-10 speed record of 96 % (github.com/KellerJordan/cifar10-airbench, airbench96_faster.py).

    Args:
        model: the small model. It must not share parameters with the model that it scores for.
        forward: batch data -> per-sample losses (b,) or `sw.Outputs`, by the small model. None: the
            Selector's forward makes it, if it has `of(model)`, as that of `sw.classifier` has.
        every: it trains on every k-th meta-batch, the first included. None: it stays as it is.
        lr: the learning rate, a number or a schedule over epochs.
        optimizer: called as `optimizer(parameters, lr=lr)`.
    """

    model: nn.Module
    forward: Callable[[Any], Any] | None = None
    every: Annotated[int | None, Range(1)] = 1
    lr: Annotated[float | Schedule, Range(0)] = 1e-3
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam

    def __post_init__(self) -> None:
        if not isinstance(self.model, nn.Module):
            raise TypeError(f"Scorer.model must be a torch.nn.Module, got {type(self.model).__name__}.")

    def shown(self) -> tuple[str, ...]:
        """What must be equal on all processes, as text."""
        kind = type(self.model).__name__
        optimizer = getattr(self.optimizer, "__qualname__", type(self.optimizer).__name__)
        return kind, f"every={self.every}", f"lr={self.lr}", optimizer


def as_scorer(given: Any) -> Scorer:
    """A `Scorer` of what `Scoring(scorer=...)` got.

    Raises:
        TypeError: if it is no model and no Scorer.
    """
    if isinstance(given, Scorer):
        return given
    if isinstance(given, nn.Module):
        return Scorer(given)
    raise TypeError(
        f"Scoring.scorer must be a torch.nn.Module or a sw.Scorer(model, ...), got {type(given).__name__}."
    )


def forward_for(scorer: Scorer, forward: Any) -> Callable[[Any], Any]:
    """The forward of the small model: its own, or the Selector's with the small model in place of its own."""
    if scorer.forward is not None:
        return scorer.forward
    of = getattr(forward, "of", None)
    if not callable(of):
        got = "None" if forward is None else getattr(forward, "__qualname__", type(forward).__name__)
        raise ValueError(
            "Scoring.scorer needs a forward of its own, because the Selector's forward cannot run another "
            f"model: {got} has no `of(model)`. Give sw.Scorer(model, forward), with a function of a batch's "
            "data that runs the small model, or build the Selector's forward with sw.classifier(model)."
        )
    made: Callable[[Any], Any] = of(scorer.model)
    return made


def check_scorer(scorer: Scorer, engine: Engine, model: nn.Module | None) -> nn.Module:
    """The model, or an error for a scorer that the method never asks or that cannot work beside it."""
    _check_method(engine)
    if model is None:
        raise ValueError(
            "Scoring.scorer scores for another model, but Selector(model=...) is None. Give "
            "Selector(model=...)."
        )
    small = scorer.model
    for kind in (DistributedDataParallel, DataParallel):
        if isinstance(small, kind):
            raise ValueError(
                f"Scorer.model must not be wrapped, got {kind.__name__}: the Selector averages its gradients "
                "over the processes itself. Give the model inside, `.module`."
            )
    if any(hasattr(parameter, "full_tensor") for parameter in small.parameters()):
        raise ValueError(
            "Scorer.model must not be sharded between processes. Give every process the whole small model."
        )
    if small is model:
        raise ValueError(
            "Scorer.model must be another model than Selector(model=...), got the same object. Leave out the "
            "scorer to score with the model itself."
        )
    own = {id(parameter) for parameter in model.parameters()}
    shared = [name for name, parameter in small.named_parameters() if id(parameter) in own]
    if shared:
        raise ValueError(
            f"Scorer.model must not share parameters with Selector(model=...), but {shared[0]!r} is in both: "
            "training the scorer would change the model. Give the scorer a copy."
        )
    if scorer.every is not None and not any(parameter.requires_grad for parameter in small.parameters()):
        raise ValueError(
            "Scorer.model must have parameters that require gradients, because it is trained, but none does. "
            "For a model that is trained already give Scorer(every=None)."
        )
    return model


def _check_method(engine: Engine) -> None:
    """Raise for methods that cannot use another model's scores."""
    policy, sources = engine.policy, engine.memory.sources
    chooses = engine.memory.counts_rows and "training" in sources and engine.scores_batches
    if not ("pass" in sources or chooses or policy.scores):
        raise ValueError(
            f"Scoring.scorer cannot be used with {policy.name}, which makes no scoring forward. Leave it out."
        )
    if policy.level == "static":
        raise ValueError(
            f"Scoring.scorer cannot be used with {policy.name}, whose scoring run trains a model only to "
            "score. Make that run with the small model itself: Selector(model=small_model)."
        )
    if policy.proxy:
        raise ValueError(
            f"Scoring.scorer cannot be used with {policy.name}, which already scores with forward.proxy. Use "
            "dynams, the same method without a proxy."
        )
