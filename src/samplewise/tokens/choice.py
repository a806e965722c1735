"""Which tokens of a batch carry a loss: those with the largest losses, or random ones."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from samplewise.checks import Range, checked
from samplewise.schedules import Schedule, number

__all__ = ["PER_PROCESS", "KeepTokens", "RandomTokens", "TokenChoice", "TopTokens", "largest"]

KeepTokens = Annotated[float | Schedule, Range(0, 1, open_low=True)]
"""The share of the tokens of a batch that carry a loss, or a schedule of it."""

PER_PROCESS = {
    "gradients_add_up": "each process chooses among the tokens of its own rows, and divides by their number"
}
"""The law of many processes that no choice of tokens keeps, and why."""


class TokenChoice(ABC):
    """Chooses tokens of a batch. Subclass it as a frozen dataclass of parameters with a field `keep`.

    Of m tokens it takes m - floor((1 - keep) m), at least 1 of 1 or more.
    """

    keep: float | Schedule
    reference: Any = None
    """What the losses are compared with: None, or where the reference losses come from."""
    random: ClassVar[bool] = False
    """Whether another seed may choose other tokens."""

    @abstractmethod
    def scores(self, losses: Float[Tensor, "b t"], rng: torch.Generator) -> Float[Tensor, "b t"]:
        """What the tokens are ranked by: the largest are taken. Draw with `rng` only.

        Args:
            losses: of the tokens, less those of the reference if there is one.
            rng: on the CPU.
        """

    @property
    def share(self) -> float:
        """The share of the tokens, as a number."""
        return float(number(self.keep))

    def take(
        self, losses: Float[Tensor, "b t"], real: Bool[Tensor, "b t"], rng: torch.Generator
    ) -> Bool[Tensor, "b t"]:
        """The tokens that carry a loss. Equal scores are ordered by row, then by position: the first wins.

        Args:
            losses: of the tokens, less those of the reference if there is one.
            real: the positions that hold a token. No other is taken.
            rng: on the CPU.
        """
        return real if self.share == 1 else largest(self.scores(losses.detach(), rng), real, self.share)

    @property
    def provenance(self) -> Mapping[str, Any]:
        """The origin and the cost of the reference losses, if they were computed before."""
        found: Mapping[str, Any] = getattr(self.reference, "provenance", {})
        return found

    def check_fits(self, n: int, fingerprint: Callable[[], str | None]) -> None:
        """Raise if the reference losses are of other data than these n samples."""
        if (check := getattr(self.reference, "check_fits", None)) is not None:
            check(n, fingerprint)


@checked
@dataclass(frozen=True)
class TopTokens(TokenChoice):
    """The `keep` share of the tokens of a batch with the largest losses.

    Args:
        keep: the share.
        reference: with one, the tokens are ranked by their loss above that of the reference.
    """

    keep: KeepTokens
    reference: Any = None

    def scores(self, losses: Float[Tensor, "b t"], rng: torch.Generator) -> Float[Tensor, "b t"]:
        return losses


@checked
@dataclass(frozen=True)
class RandomTokens(TokenChoice):
    """A uniform `keep` share of the tokens of a batch."""

    keep: KeepTokens
    random: ClassVar[bool] = True

    def scores(self, losses: Float[Tensor, "b t"], rng: torch.Generator) -> Float[Tensor, "b t"]:
        b, t = losses.shape  # drawn position by position: padding on the right changes no token's number
        drawn = torch.rand((t, b), generator=rng, dtype=torch.float64).T
        return drawn.to(losses.device, non_blocking=True)


def largest(scores: Float[Tensor, "b t"], real: Bool[Tensor, "b t"], share: float) -> Bool[Tensor, "b t"]:
    """The share of the real positions with the largest scores. It reads no number back from an accelerator.

    >>> largest(torch.tensor([[1.0, 5.0, 2.0, 2.0]]), torch.tensor([[True, False, True, True]]), 0.5)
    tensor([[False, False,  True,  True]])
    """
    flat = scores.masked_fill(~real, float("-inf")).flatten()
    m = real.sum()
    k = torch.maximum(m - ((1 - share) * m.double() + 1e-9).floor().long(), m.clamp(max=1))
    order = flat.argsort(descending=True, stable=True)
    first = torch.arange(len(flat), device=flat.device) < k
    return torch.zeros_like(first).index_copy(0, order, first).view_as(real) & real
