"""How much of the gradient comes from corrupted samples, step by step: full or of the last layer."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from samplewise.checks import Range, check_arguments
from samplewise.data.outputs import Outputs, as_outputs
from samplewise.loop import gradients

__all__ = [
    "CorruptedGradients",
    "GradientShare",
    "corrupted_gradient_share",
    "full_gradient_share",
    "last_layer_gradients",
]

Mask = Bool[Tensor, " b"]
Weights = Float[Tensor, " b"]


@dataclass(frozen=True)
class GradientShare:
    """The part of corrupted samples in one step. All are in [0, 1] but `of_sum`.

    Attributes:
        of_samples: of the samples that are back-propagated.
        of_norms: the sum of the gradient norms of corrupted samples, divided by that of all.
        of_sum: the norm of the sum of the gradients of corrupted samples, divided by the norm of the sum of
            all. Above 1 if the gradients of the others point against it.
    """

    of_samples: float
    of_norms: float
    of_sum: float


def corrupted_gradient_share(
    gradients: Float[Tensor, "b p"], corrupted: Mask, weights: Weights | None = None
) -> GradientShare:
    """The part of corrupted samples in the gradient of a step (arXiv:2509.23461, Figure 3b).

    The paper does not define its relative magnitude, so there are two forms: `of_norms` and `of_sum`.

    Args:
        gradients: of the loss of each back-propagated sample.
        corrupted: whether the sample is corrupted.
        weights: what the method multiplies each loss by; None: 1.

    >>> found = corrupted_gradient_share(torch.tensor([[3.0, 4.0], [-3.0, 0.0]]), torch.tensor([True, False]))
    >>> found.of_samples, found.of_norms, found.of_sum
    (0.5, 0.625, 1.25)
    """
    rows = gradients if weights is None else gradients * weights[:, None]
    return _share(rows.norm(dim=1), rows[corrupted].sum(0).norm(), rows.sum(0).norm(), corrupted)


def last_layer_gradients(outputs: Outputs) -> tuple[Float[Tensor, "b c"], Float[Tensor, "b d"]]:
    """The two factors of the gradient of each sample's loss with respect to the last linear layer.

    The gradient is their outer product: that of the loss with respect to the logits, and the features. If the
    layer has a bias (or `outputs.head` is not known), a column of ones follows the features.

    Raises:
        ValueError: if `outputs` lacks logits or features, or targets where the loss has no graph.
    """
    if outputs.logits is None or outputs.features is None:
        raise ValueError(
            "the gradient of the last layer needs Outputs with logits and features, but these lack "
            f"{'logits' if outputs.logits is None else 'features'}. sw.classifier(model) gives both."
        )
    features = outputs.features.detach()
    if outputs.head is None or outputs.head[1] is not None:
        features = torch.cat([features, torch.ones_like(features[:, :1])], 1)
    logits, found = outputs.logits, None
    if outputs.loss.requires_grad and logits.requires_grad:
        (found,) = torch.autograd.grad(outputs.loss.sum(), logits, retain_graph=True, allow_unused=True)
    if found is None:
        if outputs.targets is None:
            raise ValueError("last-layer gradients need Outputs with targets, or a loss with a graph.")
        found = logits.detach().softmax(1) - F.one_hot(outputs.targets, logits.shape[1])
    return found.to(features.dtype), features


def _last_layer_share(outputs: Outputs, corrupted: Mask, weights: Weights | None) -> GradientShare:
    """`corrupted_gradient_share` of the last layer, without the b matrices."""
    residuals, features = last_layer_gradients(outputs)
    if weights is not None:
        residuals = residuals * weights[:, None].to(residuals)
    bad, whole = residuals[corrupted].T @ features[corrupted], residuals.T @ features
    return _share(residuals.norm(dim=1) * features.norm(dim=1), bad.norm(), whole.norm(), corrupted)


def full_gradient_share(
    model: nn.Module,
    forward: Callable[[Any], Any],
    data: Any,
    corrupted: Mask,
    weights: Weights | None = None,
) -> GradientShare:
    """`corrupted_gradient_share` over all parameters that require a gradient.

    Runs in eval mode: with batch norm in train mode, a sample has no gradient of its own. Costs about three
    times as much as a training step, or more. Gradients, flags and buffers of the model do not change.

    Args:
        model: whose parameters `forward` uses.
        forward: from a batch to per-sample losses, or to `Outputs`.
        data: the back-propagated rows.
        corrupted: whether each row is corrupted.
        weights: what the method multiplies each loss by; None: 1.
    """
    b = len(corrupted)
    params = [p for p in model.parameters() if p.requires_grad]
    with _in_eval_mode(model):
        norms = gradients.norms(model, forward, data, b)
        loss = as_outputs(forward(data), b).loss
        loss = loss if weights is None else loss * weights.to(loss)
        sums = [
            torch.autograd.grad(part, params, retain_graph=True, allow_unused=True)
            for part in ((loss * corrupted.to(loss)).sum(), loss.sum())
        ]
    lengths = [torch.stack([g.norm() for g in grads if g is not None]).norm() for grads in sums]
    norms = norms if weights is None else norms * weights.to(norms)
    return _share(norms, lengths[0], lengths[1], corrupted)


@contextmanager
def _in_eval_mode(model: nn.Module) -> Iterator[None]:
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.enable_grad():
            yield
    finally:
        for module, flag in flags:
            module.training = flag


def _share(norms: Float[Tensor, " b"], bad: Tensor, whole: Tensor, corrupted: Mask) -> GradientShare:
    total, length = float(norms.sum()), float(whole)
    return GradientShare(
        of_samples=float(corrupted.double().mean()),
        of_norms=float(norms[corrupted].sum()) / total if total else 0.0,
        of_sum=float(bad) / length if length else 0.0,
    )


class CorruptedGradients:
    """Records, step by step, how much of the gradient comes from corrupted samples.

    Use it in a loop with `narrow`, so that it sees the rows that are back-propagated:

    ```
    kept = selector.narrow(batch)
    outputs = forward(kept.data)
    weights = selector.weigh(outputs)
    recorder.record(kept, outputs, selector.progress, weights)
    loss = (weights * outputs.loss).mean()
    ```

    Args:
        corrupted: whether each sample of the data set is corrupted (n,), by id.
        model: with `forward`, to compute gradients over all parameters; None: of the last layer only, from
            the outputs, which costs next to nothing.
        forward: from a batch to per-sample losses, or to `Outputs`.
        every: record each so many steps.

    Raises:
        ValueError: if `corrupted` is no mask, or only one of `model` and `forward` is given.
    """

    def __init__(
        self,
        corrupted: Tensor,
        model: nn.Module | None = None,
        forward: Callable[[Any], Any] | None = None,
        every: Annotated[int, Range(1)] = 1,
    ) -> None:
        check_arguments("CorruptedGradients", CorruptedGradients.__init__, {"every": every})
        if corrupted.dtype != torch.bool or corrupted.ndim != 1:
            raise ValueError(
                f"CorruptedGradients.corrupted must be a mask (n,) of booleans, got {corrupted.dtype} of "
                f"shape {tuple(corrupted.shape)}."
            )
        if (model is None) != (forward is None):
            raise ValueError("CorruptedGradients needs model and forward for full gradients, or neither.")
        self.corrupted, self.model, self.forward, self.every = corrupted.cpu(), model, forward, every
        self.steps: list[int] = []
        """The recorded steps, numbered from 0."""
        self.progress: list[float] = []
        """The finished share of the training at each of them."""
        self.shares: list[GradientShare] = []
        """What was found at each of them."""
        self._step = 0

    def record(
        self, batch: Any, outputs: Outputs, progress: float, weights: Weights | None = None
    ) -> GradientShare | None:
        """Record a step, before `backward` frees the graph. None if this step is not due.

        Args:
            batch: the rows that are back-propagated, with their ids.
            outputs: of the training forward on them.
            progress: the finished share of the training.
            weights: the factor of each row's loss, as `selector.weigh` gives it.
        """
        step, self._step = self._step, self._step + 1
        if step % self.every:
            return None
        ids: Int[Tensor, " b"] = batch.ids.cpu()
        corrupted = self.corrupted[ids].to(outputs.loss.device)
        weights = None if weights is None else weights.detach()
        if self.model is not None and self.forward is not None:
            found = full_gradient_share(self.model, self.forward, batch.data, corrupted, weights)
        else:
            found = _last_layer_share(outputs, corrupted, weights)
        self.steps.append(step)
        self.progress.append(float(progress))
        self.shares.append(found)
        return found

    def curve(self, name: str, parts: int = 20) -> tuple[Sequence[float], Sequence[float]]:
        """The mean of `of_samples`, `of_norms` or `of_sum` over equal parts of the training.

        Returns the mean progress and the mean value of each part that has steps.
        """
        values = np.array([getattr(share, name) for share in self.shares])
        progress = np.array(self.progress)
        part = np.minimum((progress * parts).astype(int), parts - 1)
        used = np.unique(part)
        return (
            [float(progress[part == i].mean()) for i in used],
            [float(values[part == i].mean()) for i in used],
        )
