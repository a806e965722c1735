"""The loss above a sample's irreducible loss, and the table that irreducible losses come from (RHO-LOSS)."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from samplewise.data.byid import by_id
from samplewise.data.fits import refuse_other_data
from samplewise.data.ids import few
from samplewise.trackers.base import Ids, State, Tracker, Values, put
from samplewise.trackers.columns import Column

__all__ = ["IrreducibleLosses", "Reducible"]


@dataclass(frozen=True, eq=False, repr=False)
class IrreducibleLosses:
    """The loss on each sample of a model that was not trained on it, and where these losses come from.

    `samplewise score --method irreducible` computes them. NaN marks a sample of the hold-out half: the model
    was trained on it, so it takes no part in the training.

    Args:
        ids: positions in the full data set.
        values: (k,), one for each id.
        provenance: `n` and `fingerprint` of the data, `fit` ("cross" or "holdout"), what computing them
            cost under `scoring` as {"cost": forwards, "seconds": seconds}.

    Raises:
        ValueError: for ids that repeat or are negative, values that are infinite or all NaN, and values
            that are NaN though `fit` does not say "holdout".
    """

    ids: Int[Tensor, " k"]
    values: Float[Tensor, " v"]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.ids.shape != self.values.shape or not len(self.ids):
            raise ValueError(
                f"IrreducibleLosses.values must have one value for each id, got {len(self.ids)} ids and "
                f"{len(self.values)} values."
            )
        ids, rows = by_id("IrreducibleLosses", self.ids, {"values": self.values})
        missing = self.values.isnan()
        if bool(self.values.isinf().any()) or bool(missing.all()):
            raise ValueError(
                "irreducible losses must be finite, or NaN for a sample held out, got "
                f"{int(self.values.isinf().sum())} infinite and {int(missing.sum())} NaN of {len(ids)}. "
                "Compute them again."
            )
        if (fit := self.provenance.get("fit")) != "holdout" and bool(missing.any()):
            raise ValueError(
                f"irreducible losses are NaN for {int(missing.sum())} samples, first id "
                f"{int(self.ids[missing].min())}, but their table was made with fit={fit!r}. Only "
                "fit='holdout' leaves samples out. Compute them again."
            )
        object.__setattr__(self, "ids", ids)
        object.__setattr__(self, "values", rows["values"].float())

    @property
    def held_out(self) -> Int[Tensor, " h"]:
        """The ids of the hold-out half, ascending."""
        return self.ids[self.values.isnan()]

    def check_fits(self, n: int, fingerprint: Callable[[], str | None]) -> None:
        """Raise for a table of other data, and for one that lacks samples."""
        if len(self.ids) < n == self.provenance.get("n", n) and int(self.ids[-1]) < n:
            there = torch.zeros(n, dtype=torch.bool)
            there[self.ids] = True
            raise ValueError(
                f"IrreducibleLosses must have a value for every sample, but {n - len(self.ids)} of {n} are "
                f"missing, first ids {few((~there).nonzero().flatten())}. {_AGAIN}"
            )
        refuse_other_data("the irreducible losses are of", self.ids, self.provenance, n, fingerprint, _AGAIN)

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IrreducibleLosses) and self._digest() == other._digest()

    def __hash__(self) -> int:
        return hash(self._digest())

    def _digest(self) -> str:
        drawn = hashlib.sha256(self.ids.cpu().numpy().tobytes())
        drawn.update(self.values.cpu().numpy().tobytes())
        return drawn.hexdigest()

    def __repr__(self) -> str:
        kept = len(self) - len(self.held_out)
        return f"IrreducibleLosses({kept} of {len(self)} ids, sha256 {self._digest()[:12]})"


_AGAIN = "Run samplewise score --method irreducible on these data."


@dataclass(frozen=True)
class Reducible(Tracker):
    """The last loss minus the sample's irreducible loss, column `reducible_loss`.

    The irreducible losses are a second column, on the device of the losses. Memory: 8 bytes a sample.
    """

    losses: IrreducibleLosses

    @property
    def provenance(self) -> Mapping[str, Any]:
        return self.losses.provenance

    def check_fits(self, n: int, fingerprint: Callable[[], str | None]) -> None:
        self.losses.check_fits(n, fingerprint)

    @property
    def ranks(self) -> str:
        return "reducible_loss"

    def columns(self, values: Values) -> dict[str, Column]:
        return {"reducible_loss": Column(), "irreducible": Column(torch.float32, shape=(), join="same")}

    def start(self, n: int, values: Values) -> State:
        state = super().start(n, values)
        kept = state["irreducible"]
        kept[self.losses.ids.to(kept.device)] = self.losses.values.to(kept.device)
        return state

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        (new,) = values.values()
        found = {"reducible_loss": new.float() - state["irreducible"].index_select(0, ids)}
        put(state, ids, found)
        return ids, found
