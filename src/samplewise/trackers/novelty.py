"""The memory of UDS: the value of each sample plus its distance to what was trained on last."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from samplewise.checks import Range, checked
from samplewise.schedules import Schedule, number
from samplewise.trackers.base import Ids, State, Tracker, Values, at, write
from samplewise.trackers.columns import Column

__all__ = ["Novelty"]


@checked
@dataclass(frozen=True)
class Novelty(Tracker):
    """A value plus `alpha` times the mean distance to the vectors of the samples chosen last, column `score`.

    Follows two signals: a number, and a vector z of each sample. The last `history` vectors of samples that
    the batch picker chose are kept; the oldest leave first. Before the first choice the distance is 0.
    Processes exchange the values. Each one keeps the vectors that it chose, and the distances to them of the
    samples that it saw. A sample that another process saw has distance 0 here.

    Memory: 8 bytes a sample, and 8 d + 8 for each of `history` vectors of d numbers (those of the last
    scored batch wait for the choice, and are as many).

    Args:
        alpha: the weight of the distance.
        history: the number of vectors kept.
    """

    alpha: Annotated[float | Schedule, Range(0)] = 1.0
    history: Annotated[int, Range(1, 65_536)] = 1024
    whole_batches: ClassVar[bool] = True
    follows_choices: ClassVar[bool] = True

    @property
    def ranks(self) -> str:
        return "score"

    def start(self, n: int, values: Values) -> State:
        shapes = [value.ndim for value in values.values()]
        if shapes != [1, 2]:
            raise ValueError(
                "Novelty must follow two signals, a number and then a vector of each sample, got "
                f"{list(values)}. Use Policy(signal=(matrices.nuclear_norm, matrices.Projection()), ...)."
            )
        return super().start(n, values)

    def columns(self, values: Values) -> dict[str, Column]:
        value, vector = [*values] or ("value", "vector")
        width = values[vector].shape[1] if values else 0
        local = Column(torch.float32, (self.history, width), join="local", of=vector, per_sample=False)
        ids = Column(torch.int64, (self.history,), join="local", of=vector, per_sample=False)
        return {
            "value": Column(torch.float32, shape=(), of=value),
            "distance": Column(torch.float32, shape=(), first=0.0, join="local", of=value),
            "recent": local,
            "scored": local,
            "scored_ids": ids,
        }

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        value, z = values.values()
        distance = _mean_distance(z.float(), state["recent"])
        write(state["value"], ids, value)
        if b := len(ids):
            if b > self.history:
                raise ValueError(
                    f"Novelty.history must be at least the {b} rows of a batch, got {self.history}. Give a "
                    "longer history, or smaller batches."
                )
            # A sampler may repeat a sample to pad its batch: it counts once.
            first = _first_in(ids, ids) == torch.arange(b, device=ids.device)
            # New tensors: a batch with a bad loss is taken back by keeping the old ones.
            state["distance"] = state["distance"].index_copy(0, ids, distance)
            state["scored"] = torch.full_like(state["scored"], torch.nan)
            state["scored_ids"] = torch.full_like(state["scored_ids"], -1)
            state["scored"][:b] = torch.where(first[:, None], z.float(), torch.nan)
            state["scored_ids"][:b] = torch.where(first, ids, -1)
        return ids, {"score": value + number(self.alpha) * distance}

    def derive(self, state: State, ids: Ids | None = None) -> Values:
        return {"score": at(state["value"], ids) + number(self.alpha) * at(state["distance"], ids)}

    def narrowed(self, state: State, ids: Ids) -> None:
        # No length depends on a number, so an accelerator need not wait. Rows without a vector leave first.
        rows, scored = _first_in(state["scored_ids"], ids), state["scored_ids"]
        once = _first_in(ids, ids) == torch.arange(len(ids), device=ids.device)
        known = once & (scored.index_select(0, rows) == ids)
        chosen = torch.where(known[:, None], state["scored"].index_select(0, rows), torch.nan)
        kept = torch.cat([state["recent"], chosen])
        order = (~kept.isnan().any(1)).int().argsort(stable=True)
        state["recent"] = kept.index_select(0, order)[-self.history :]
        state["scored_ids"] = torch.full_like(state["scored_ids"], -1)


def _first_in(column: Int[Tensor, " m"], ids: Int[Tensor, " k"]) -> Int[Tensor, " k"]:
    """The first place of each id in a column; 0 if it is not there."""
    return (column == ids[:, None]).int().argmax(1)


def _mean_distance(z: Float[Tensor, "b d"], kept: Float[Tensor, "m d"]) -> Float[Tensor, " b"]:
    """The mean Euclidean distance of each row to the rows that are not NaN; 0 without any."""
    filled = ~kept.isnan().any(1)
    # Not by inner products: they depend on the other rows of the batch, and lose the difference of near rows.
    apart = torch.cdist(z, kept.nan_to_num(), compute_mode="donot_use_mm_for_euclid_dist")
    return (apart * filled).sum(1) / filled.sum().clamp(min=1)
