"""`CompactPlan`: the plan of an epoch of very many samples, held as bits and computed as ids when needed."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from samplewise.checks import Range
from samplewise.data.bits import Bits
from samplewise.data.declared import Column, Fields, Form, Maybe, Number
from samplewise.pickers.base import Marked
from samplewise.subset import Subset

__all__ = ["COMPACT_FROM", "CompactPlan", "all_of", "form_of_bits", "plan_from", "state_of"]

COMPACT_FROM = 1 << 25
"""The number of samples from which plans are compact unless the Selector says otherwise: 33,554,432."""


class CompactPlan(Subset):
    """A `Subset` in a few bits a sample: n / 8 bytes, and n / 8 more if it has weights of two values.

    It has the same attributes. `ids` and `weights` are made when they are read: 8 and 4 bytes a chosen
    sample. The first order that is read makes an index of n / 8 bytes. Weights of many values are kept, in 4
    bytes a chosen sample.
    """

    def __init__(self, marked: Marked, weighting: Any = "per_sample") -> None:
        # The notes belong to the choice, and a read-only mapping cannot be pickled.
        own = {"marked": marked._replace(notes={}), "provenance": {}, "weighting": weighting}
        for name, value in own.items():
            object.__setattr__(self, name, value)

    marked: Marked

    @classmethod
    def from_plan(cls, n: int, plan: Subset) -> "CompactPlan":
        """The same samples and weights of n in the compact form."""
        if isinstance(plan, CompactPlan):
            return plan
        return cls(Marked(Bits.of(n, plan.ids), weights=plan.weights), plan.weighting)

    @property
    def ids(self) -> Int[Tensor, " k"]:
        """The samples, ascending. Computed at every call."""
        return self.marked.rows.ids()

    @property
    def weights(self) -> Float[Tensor, " k"] | None:
        """Their weights; None: all 1. Computed at every call."""
        marked = self.marked
        return marked.weights if marked.heavy is None else self.weights_of(self.ids)

    @property
    def weighted(self) -> bool:
        return self.marked.heavy is not None or self.marked.weights is not None

    def __len__(self) -> int:
        return len(self.marked.rows)

    def weights_of(self, ids: Int[Tensor, " b"], over: int = 1) -> Float[Tensor, " b"]:
        """The weights of some samples divided by `over`, on their device; of others, that of 1."""
        rows, heavy, weight, weights, _ = self.marked
        if heavy is not None:
            found = torch.where(heavy.has(ids), torch.tensor(weight, device=ids.device), 1.0)
        else:
            here = ids.cpu()
            found, planned = torch.ones(len(ids)), rows.has(here)
            if weights is not None:
                found[planned] = weights[torch.from_numpy(rows.rank(here[planned].numpy()))]
        found = found.to(ids.device) / over
        return found.mean().expand(len(ids)) if self.weighting == "batch_mean" else found


def all_of(n: int, compact: bool) -> Subset:
    """The plan of all n samples."""
    return CompactPlan(Marked(Bits(n))) if compact else Subset(torch.arange(n))


def state_of(plan: Subset | None, compact: bool) -> dict[str, Any]:
    """A plan as tensors and plain values. Only the state of a compact plan has the entry `bits`."""
    found: dict[str, Any] = {"ids": None, "weights": None}
    found["weighting"] = None if plan is None else plan.weighting
    if compact:
        found["bits"] = None
    if isinstance(plan, CompactPlan):
        rows, heavy, weight, weights, _ = plan.marked
        packed = None if heavy is None else heavy.packed()
        found["bits"] = {"rows": rows.packed(), "heavy": packed, "weight": float(weight)}
    elif plan is not None:
        found["ids"], weights = plan.ids.clone(), plan.weights
    else:
        weights = None
    found["weights"] = None if weights is None else weights.clone()
    return found


def plan_from(n: int, state: Mapping[str, Any]) -> Subset | None:
    """The plan of n samples that `state_of` was given."""
    ids, weights = state["ids"], state["weights"]
    weights = None if weights is None else weights.clone()
    if (bits := state.get("bits")) is not None:
        heavy = None if bits["heavy"] is None else Bits(n, bits["heavy"])
        marked = Marked(Bits(n, bits["rows"]), heavy, bits["weight"], weights)
        if weights is not None and len(weights) != len(marked.rows):
            raise ValueError(f"it has {len(marked.rows)} samples and {len(weights)} weights.")
        return CompactPlan(marked, state["weighting"])
    return None if ids is None else Subset(ids.clone(), weights, {}, state["weighting"])


def form_of_bits(n: int) -> Form:
    """The form of the entry `bits` of the state of a plan of n samples."""
    bits = Column((torch.uint8,), (-(-n // 8),))
    return Maybe(Fields({"rows": bits, "heavy": Maybe(bits), "weight": Number(Range(0))}))
