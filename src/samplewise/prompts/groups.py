"""Groups: what the roll-outs of each prompt of the open step earned."""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from samplewise.data.ids import few, first_of_each
from samplewise.distributed import collectives

__all__ = ["Groups", "OpenStep", "as_rewards", "passed"]


class Groups:
    """Sums over the roll-outs of m prompts: passes, roll-outs, lowest and highest reward."""

    def __init__(self, m: int) -> None:
        self.passes = torch.zeros(m, dtype=torch.int64)
        self.rollouts = torch.zeros(m, dtype=torch.int64)
        self.low = torch.full((m,), float("inf"), dtype=torch.float64)
        self.high = torch.full((m,), float("-inf"), dtype=torch.float64)

    @property
    def columns(self) -> list[Tensor]:
        """The four columns, in the order in which `add` takes them."""
        return [self.passes, self.rollouts, self.low, self.high]

    @property
    def varied(self) -> Bool[Tensor, " m"]:
        """The groups with two different rewards. In all others the advantage of GRPO is 0."""
        return self.high > self.low

    def add(self, rows: Int[Tensor, " r"], columns: list[Tensor]) -> None:
        """Add roll-outs to the groups `rows`. A row may come several times."""
        passes, rollouts, low, high = columns
        self.passes.index_add_(0, rows, passes)
        self.rollouts.index_add_(0, rows, rollouts)
        self.low.scatter_reduce_(0, rows, low, "amin")
        self.high.scatter_reduce_(0, rows, high, "amax")

    def grown(self, more: int) -> "Groups":
        """The same groups, and `more` without roll-outs behind them."""
        made = Groups(len(self.passes) + more)
        made.add(torch.arange(len(self.passes)), self.columns)
        return made


@dataclass
class OpenStep:
    """The step whose roll-outs are made now: its prompts, in the order in which they were planned."""

    step: int
    ids: Int[Tensor, " m"]
    rounds: int = 0
    """Rounds that were planned: one, and the replacements."""
    known: Groups = field(init=False)
    """What all processes know."""
    local: Groups = field(init=False)
    """What only this process knows."""

    def __post_init__(self) -> None:
        self.known, self.local = Groups(len(self.ids)), Groups(len(self.ids))

    @property
    def waiting(self) -> Bool[Tensor, " m"]:
        """The prompts without a roll-out, as far as all processes know."""
        return self.known.rollouts == 0

    def extend(self, ids: Int[Tensor, " k"]) -> None:
        """Plan one more round."""
        self.ids, self.rounds = torch.cat([self.ids, ids]), self.rounds + 1
        self.known, self.local = self.known.grown(len(ids)), self.local.grown(len(ids))

    def rows_of(self, ids: Int[Tensor, " b"]) -> Int[Tensor, " b"]:
        """The rows of `ids`.

        Raises:
            ValueError: if an id comes twice or was not planned for this step.
        """
        ordered, back = self.ids.sort()
        places = torch.searchsorted(ordered, ids).clamp(max=len(ordered) - 1)
        if not bool((here := ordered[places] == ids).all()):
            raise ValueError(
                f"observe needs ids that were planned for step {self.step}, but {few(ids[~here])} were not. "
                "Ids are positions in the full data set. Observe a step before you plan the next one: a "
                "loader that fetches ahead plans too early."
            )
        again = torch.ones(len(ids), dtype=torch.bool)
        again[first_of_each(ids)] = False
        if bool(again.any()):
            raise ValueError(
                "observe needs each id once in a call, with its group as one row of rewards, but "
                f"{few(ids[again])} came before."
            )
        return back[places]

    def sync(self) -> None:
        """Give what this process knows to all. Every process must call it."""
        m = len(self.ids)
        rows = self.local.rollouts.nonzero().squeeze(1)
        columns = [column[rows] for column in self.local.columns]
        if collectives.world() > 1:
            # Two processes may have made roll-outs of one prompt, so a row is named by its process, too.
            rows, columns = collectives.gather(collectives.rank() * m + rows, columns)
        self.known.add(rows % m, columns)
        self.local = Groups(m)


def as_rewards(rewards: Any, ids: Int[Tensor, " b"], step: int) -> Float[Tensor, "b g"]:
    """Rewards (b, g) as float64 on the CPU.

    Raises:
        TypeError: if `rewards` is no tensor.
        ValueError: for another shape, or a reward that is not finite.
    """
    if not isinstance(rewards, Tensor):
        raise TypeError(
            f"observe needs rewards as a torch tensor of shape (b, g), got {type(rewards).__name__}. Convert "
            "a list with torch.tensor(rewards)."
        )
    shape = tuple(rewards.shape)
    if rewards.ndim != 2 or shape[0] != len(ids) or not shape[1] or rewards.is_complex():
        hint = ""
        if rewards.ndim == 1 and len(ids) and rewards.numel() and not rewards.numel() % len(ids):
            hint = f" If the roll-outs of a prompt stand together, use rewards.view({len(ids)}, -1)."
        raise ValueError(
            f"observe needs rewards of shape (b, g) = ({len(ids)}, g), the g roll-outs of each id in a row, "
            f"got shape {shape} of {rewards.dtype}.{hint}"
        )
    found: Tensor = rewards.detach().to("cpu", torch.float64)
    if not bool((finite := found.isfinite().all(1)).all()):
        raise ValueError(
            f"rewards are not finite for ids {few(ids[~finite])} in step {step}. Give a roll-out that "
            "failed the lowest reward, or leave its prompt out."
        )
    return found


def passed(
    rewards: Float[Tensor, "b g"], success: float | None, ids: Int[Tensor, " b"]
) -> Bool[Tensor, "b g"]:
    """Which roll-outs passed: those with a reward of at least `success`.

    Raises:
        ValueError: without `success`, if a reward is neither 0 nor 1.
    """
    if success is not None:
        return rewards >= success
    if not bool((binary := (rewards == 0) | (rewards == 1)).all()):
        wrong = ~binary.all(1)
        raise ValueError(
            f"rewards must be 0 or 1 without PromptSelector(success=...), got "
            f"{rewards[~binary][0].item():g} for ids {few(ids[wrong])}. Give success, the least reward of a "
            "roll-out that passes."
        )
    return rewards == 1
