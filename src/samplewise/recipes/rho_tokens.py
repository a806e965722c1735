"""Rho-1: the tokens whose loss exceeds that of a reference the most (arXiv:2404.07965)."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from samplewise.policy import Policy, recipe
from samplewise.tokens import Reference, ReferenceLosses, TopTokens
from samplewise.tokens.choice import PER_PROCESS, KeepTokens
from samplewise.tokens.reference import as_reference

__all__ = ["rho_tokens"]


def toy_targets(ids: Int[Tensor, " b"], t: int = 5) -> Int[Tensor, "b t"]:
    """Made-up tokens of rows, row i with 1 + i % t of them: for the laws."""
    row, place = ids[:, None], torch.arange(t, device=ids.device)
    return torch.where(place <= row % t, (3 * row + place) % 11, -100)


def _toy(n: int) -> Any:
    targets = toy_targets(torch.arange(n))
    losses = 1 + torch.sin(torch.arange(targets.numel()).float()).view_as(targets)
    return rho_tokens(ReferenceLosses.of(losses, targets), keep=0.4)


@recipe(paper="arXiv:2404.07965", level="token", source="none", toy=_toy, exempt=PER_PROCESS)
def rho_tokens(
    reference: ReferenceLosses | Reference | nn.Module | str | Path | None = None, keep: KeepTokens = 0.6
) -> Policy:
    """Train on the `keep` share of the tokens of every batch whose loss exceeds the reference's the most.

    This is selective language modeling (SLM). The score of a token is its loss under the model less its loss
    under a reference that was trained on data of high quality. The loss that trains is the mean over the
    chosen tokens of the batch, of all its rows together. `keep` is the paper's k %: 0.6 in its 1B runs, 0.7
    in its 7B runs. The training forward gives the losses of the model, so nothing is scored twice. Equal
    scores are ordered by row, then by position. The reference is a file or table of stored losses
    (`sw.reference_losses`), or a model that runs on every batch.

    Signal: none. Memory: 0 bytes a sample. Stored reference losses: 16 bytes a row, and 4 bytes a token on
    disk, or 2 in float16. Choice: top-k of the tokens of the batch.
    Cost: that of full training, and of the reference: its forwards over all rows once if they are stored, or
    one forward of every batch, by its FLOPs. All tokens are in the forward and in the backward.
    """
    shown = as_reference(reference, "rho_tokens")
    given = {} if isinstance(reference, str | Path) else {"reference": shown}
    return Policy(token_choice=TopTokens(keep, shown), params=given)
