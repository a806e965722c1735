"""Toy traces: fixed outputs of every sample in every epoch, so that runs can be compared."""

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional as F

from samplewise import recipes as registry
from samplewise.data.outputs import Outputs
from samplewise.policy import Recipe
from samplewise.recipes.rho_tokens import toy_targets
from samplewise.rng import generator
from samplewise.signals import residual

__all__ = ["TARGET", "Trace", "build", "by_tokens", "keeps", "recipes"]

TARGET = torch.arange(2)
"""The samples of a trace towards which `greats_last_layer` chooses."""


class Trace:
    """Outputs of n samples over some epochs, a function of (id, epoch) alone.

    The samples begin near chance and are learned one after the other; a few never are. Losses,
    logits, targets and features agree with one another. The first samples, `TARGET`, are the target set.

    >>> trace = Trace(n=6, epochs=3)
    >>> trace.outputs(torch.tensor([4, 1]), epoch=2).loss.shape
    torch.Size([2])
    """

    def __init__(
        self, n: int = 24, epochs: int = 8, classes: int = 3, dtype: torch.dtype = torch.float32
    ) -> None:
        rng = generator(n, epochs, "trace")
        self.n, self.epochs, self.dtype = n, epochs, dtype
        self.targets = torch.arange(n) % classes
        self.features = torch.randn(epochs, n, 4, generator=rng)
        self.head = (torch.randn(classes, 4, generator=rng), torch.randn(classes, generator=rng))
        hit = torch.nn.functional.one_hot(self.targets, classes).float()
        pace = torch.rand(n, generator=rng) * 1.2 - 0.1
        learned = 8 * torch.arange(1, epochs + 1)[:, None] / epochs * pace - 0.5
        noise = 0.4 * torch.randn(epochs, n, classes, generator=rng)
        logits = learned[:, :, None] * hit + noise
        losses = logits.logsumexp(2) - (logits * hit).sum(2)
        self.logits, self.losses = logits.to(dtype), losses.to(dtype)

    def outputs(self, ids: Int[Tensor, " b"], epoch: int) -> Outputs:
        """The outputs of a forward over `ids` in `epoch`: new tensors at every call."""
        at = min(epoch, self.epochs - 1)
        return Outputs(
            loss=self.losses[at, ids],
            logits=self.logits[at, ids],
            targets=self.targets[ids],
            features=self.features[at, ids],
            head=self.head,
            target_product=self._products(at)[ids],
        )

    def _products(self, at: int) -> Tensor:
        """Products of the gradients of all samples, written out, with the mean of those of the target set."""
        errors = residual(self.logits[at].float(), self.targets)
        gradients = errors[:, :, None] * F.pad(self.features[at], (0, 1), value=1.0)[:, None]
        return (gradients * gradients[TARGET].mean(0)).sum((1, 2))


def by_tokens(outputs: Outputs, ids: Int[Tensor, " b"]) -> Outputs:
    """The outputs with a made-up loss for every token of the rows. Its mean is the loss of the row."""
    targets = toy_targets(ids)
    real, parts = (
        targets != -100,
        1.5 + torch.sin(7.0 * ids[:, None] + 3 * torch.arange(targets.shape[1]).to(ids)),
    )
    parts = torch.where(real, parts, 0)
    parts = parts * (real.sum(1, keepdim=True) / parts.sum(1, keepdim=True))
    losses = outputs.loss[:, None] * parts.to(outputs.loss)
    return replace(outputs, token_losses=losses, token_targets=targets)


def recipes() -> list[Recipe]:
    """Every registered recipe, for `pytest.mark.parametrize`."""
    return list(registry.all().values())


def keeps(recipe: Recipe) -> list[str]:
    """The names of a recipe's keep parameters."""
    return [name for name in recipe.signature.parameters if name.split("_")[0] == "keep"]


def build(recipe: Recipe, n: int, keep: float | None = None, **wanted: Any) -> Any:
    """A policy for n samples: its `toy` if it needs an object, else with those parameters that it has.

    Args:
        recipe: the recipe.
        n: of the data set.
        keep: for every keep parameter; None: the defaults.
        wanted: parameters by name, ignored if the recipe has none of that name.
    """
    if recipe.toy is not None:
        return recipe.toy(n)
    given = {name: value for name, value in wanted.items() if name in recipe.signature.parameters}
    if keep is not None:
        given |= dict.fromkeys(keeps(recipe), keep)
    return recipe(**given)
