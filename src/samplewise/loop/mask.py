"""`PlanMask`: which samples the open epoch trains on, in memory that loader workers share."""

from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from samplewise.engine.compact import CompactPlan
from samplewise.subset import Subset

__all__ = ["PlanMask"]


class PlanMask:
    """One truth value a sample. Every plan is written into the same tensor."""

    def __init__(self, n: int) -> None:
        if not n:
            raise ValueError("a mask needs the number of samples, got None. Give Selector(policy, n, ...).")
        self.tensor: Bool[Tensor, " n"] = torch.ones(n, dtype=torch.bool)
        self._share()

    def show(self, plan: Subset) -> None:
        """Write the samples of a plan."""
        if isinstance(plan, CompactPlan):
            for start, part in plan.marked.rows.parts():
                self.tensor[start : start + len(part)] = torch.from_numpy(part)
            return
        shown = torch.zeros(len(self.tensor), dtype=torch.bool)
        shown[plan.ids] = True
        self.tensor.copy_(shown)

    def _share(self) -> None:
        self.tensor.share_memory_()  # type: ignore[no-untyped-call]  # torch does not annotate it

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._share()
