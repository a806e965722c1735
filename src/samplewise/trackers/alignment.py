"""How a sample's losses of the last epochs follow those of a reference: the memory of AlignPrune."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from samplewise.checks import Range, checked
from samplewise.data.fits import refuse_other_data
from samplewise.trackers.base import Ids, State, Tracker, Values, at, refuse_short, write
from samplewise.trackers.columns import Column

__all__ = ["Alignment"]

_DEFAULT = 10
_FEWEST = 3


@runtime_checkable
class Chosen(Protocol):
    """Samples of a data set and their origin, such as a `Subset`."""

    @property
    def ids(self) -> Int[Tensor, " k"]: ...

    @property
    def provenance(self) -> Mapping[str, Any]: ...


@checked
@dataclass(frozen=True)
class Alignment(Tracker):
    """Pearson correlation of a sample's losses with the reference's mean losses, column `alignment`.

    Both are over the last `window` closed epochs, and over those of them in which the sample and some sample
    of the reference were observed. With fewer than 3 such epochs, or without any change in one of the two,
    it is 0 (no alignment is known). Before `window` epochs are closed the column is the last loss instead.
    NaN for a sample that was not observed in the window. Memory: 4 K + 4 bytes a sample (K = `window`).

    Args:
        reference: samples of this data set with right labels, such as a `Subset`. None: all samples.
        window: the number of epochs. None: 10, but at most a third of the training, and at least 3.
    """

    reference: Chosen | None = None
    window: Annotated[int | None, Range(_FEWEST)] = None

    @property
    def ranks(self) -> str:
        return "alignment"

    @property
    def sizes(self) -> Mapping[str, int]:
        return {"K": self.window or _DEFAULT}

    @property
    def provenance(self) -> Mapping[str, Any]:
        return {} if self.reference is None else self.reference.provenance

    def check_fits(self, n: int, fingerprint: Callable[[], str | None]) -> None:
        if (given := self.reference) is not None:
            hint = "Choose a reference among these samples."
            refuse_other_data(
                "the reference was chosen from", given.ids, given.provenance, n, fingerprint, hint
            )

    def within(self, epochs: int) -> "Alignment":
        window = max(_FEWEST, min(_DEFAULT, epochs // 3)) if self.window is None else self.window
        if self.window is not None:
            refuse_short("Alignment.window", window, epochs)
        return replace(self, window=window)

    def columns(self, values: Values) -> dict[str, Column]:
        closed = Column(torch.int64, shape=(), first=0, join="same", per_sample=False)
        past = Column(shape=(self.sizes["K"],), join="same")
        return {"now": Column(), "values": past, "epoch": closed}

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        (new,) = values.values()
        write(state["now"], ids, new)
        return ids, {}

    def close(self, state: State) -> None:
        past = state["values"]
        past.copy_(torch.cat([past[:, 1:], state["now"][:, None]], 1))
        state["epoch"] += 1
        state["now"].fill_(float("nan"))

    def derive(self, state: State, ids: Ids | None = None) -> Values:
        past = state["values"]
        if int(state["epoch"]) < past.shape[1]:
            return {"alignment": _last(torch.cat([at(past, ids), at(state["now"], ids)[:, None]], 1))}
        given = None if self.reference is None else self.reference.ids.to(past.device)
        return {"alignment": correlation(at(past, ids), at(past, given).double().nanmean(0))}


def _last(values: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    """The newest value of each row that is not NaN; NaN without any."""
    newest = values[:, 0]
    for column in values.unbind(1)[1:]:
        newest = torch.where(column.isnan(), newest, column)
    return newest


def correlation(values: Float[Tensor, "b k"], reference: Float[Tensor, " k"]) -> Float[Tensor, " b"]:
    """Pearson's r of each row with the reference, where both are known; 0 where it is not defined.

    >>> correlation(torch.tensor([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]]), torch.tensor([6.0, 4.0, 2.0]))
    tensor([ 1., -1.])
    """
    known = ~(values.isnan() | reference.isnan())
    count = known.sum(1)
    x = values.double().where(known, 0.0)
    y = reference.double().expand(values.shape).where(known, 0.0)
    x = (x - (x.sum(1) / count)[:, None]).where(known, 0.0)
    y = (y - (y.sum(1) / count)[:, None]).where(known, 0.0)
    norms = x.norm(dim=1) * y.norm(dim=1)
    found = ((x * y).sum(1) / norms).clamp(-1, 1)
    found = found.where((count >= _FEWEST) & (norms > 0), 0.0)
    seen: Tensor = ~values.isnan().all(1)
    return torch.where(seen, found, torch.nan).float()
