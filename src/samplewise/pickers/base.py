"""`Picker`, the pool that it chooses from, and a picker inside each class."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from samplewise.checks import Range, refuse_taken_fields
from samplewise.data import bits
from samplewise.data.bits import Bits
from samplewise.pickers import ranking
from samplewise.schedules import Schedule, number
from samplewise.subset import Subset

__all__ = ["Around", "Budgeted", "Counts", "Marked", "PerClass", "Picked", "Picker", "Pool", "Rows", "inside"]

Keep = Annotated[float | Schedule, Range(0, 1, open_low=True)]
"""`checks.Share`, or a schedule of it."""
Counts = Literal["exact", "least", "below_mean", "below_mean_at_random", "halving", "size"]
Rows = Int[Tensor, " k"]
Own = TypeVar("Own", bound="Picker")


class Pool(NamedTuple):
    """The candidates: m rows, their columns, and a private generator.

    Equal scores inside a batch are ordered by `ids`, or by position without them. At least `least` rows are
    kept, whatever the share. `labels` (m,) are class numbers, if there are any. `before` are the rows of the
    last choice; None: all. `times` (m,) says how often each was selected in the training so far. `notes` are
    those of the last choice, for a picker that `carries` them. `read` gives the columns of some rows, in
    place of `values`, if the choice is made piece by piece: see `Picker.mark`.
    """

    m: int
    rng: torch.Generator
    values: Mapping[str, Tensor] = MappingProxyType({})
    ranks: str | None = None
    ids: Tensor | None = None
    labels: Tensor | None = None
    least: int = 0
    before: Rows | None = None
    times: Int[Tensor, " m"] | None = None
    notes: Mapping[str, float] = MappingProxyType({})
    read: Callable[[Rows], Mapping[str, Tensor]] | None = None

    def pieces(self) -> Iterator["Pool"]:
        """The pool in pieces, in order: `bits.PIECE` rows each, the last one fewer."""
        for start in range(0, self.m, bits.PIECE):
            rows = torch.arange(start, min(self.m, start + bits.PIECE))
            if self.read is not None:
                values = self.read(rows)
            else:
                values = {name: column[start : start + len(rows)] for name, column in self.values.items()}
            times = None if self.times is None else self.times[start : start + len(rows)]
            yield Pool(len(rows), self.rng, values, self.ranks, times=times)

    def column(self, by: str | None) -> Callable[[], Iterator[Tensor]]:
        """What gives `scores` in pieces, as often as it is called."""
        return lambda: (piece.scores(by) for piece in self.pieces())

    def scores(self, by: str | None) -> Tensor:
        """The column `by`, or the one that the tracker ranks by. All NaN before the first observation."""
        name = by or self.ranks
        if not self.values:
            return torch.full((self.m,), float("nan"))
        if name is None or name not in self.values:
            raise ValueError(
                f"a picker must rank by one of the columns {sorted(self.values)}, got {name!r}. "
                "Give one of them as by=..."
            )
        return self.values[name]


class Picked(NamedTuple):
    """Rows of the pool, ascending, and their weights. None: all rows, and all weights 1.

    `notes` are numbers about the choice, by name. Those of an epoch are kept in `Ledger.selections`.
    """

    rows: Rows | None = None
    weights: Float[Tensor, " k"] | None = None
    notes: Mapping[str, float] = MappingProxyType({})


class Marked(NamedTuple):
    """A choice from very many rows: one bit for each.

    The `heavy` rows among them have the same `weight`, the others the weight 1. Or each has one of `weights`,
    in the order of the rows. `notes` are as in `Picked`.
    """

    rows: Bits
    heavy: Bits | None = None
    weight: float = 1.0
    weights: Float[Tensor, " k"] | None = None
    notes: Mapping[str, float] = MappingProxyType({})


class Picker(ABC):
    """A choice. Subclass it as a frozen dataclass of parameters.

    The attributes say what the rest of the package must know of a picker. No other code asks for its class.
    """

    by: str | None = None
    """The column it ranks by. None: the one that the tracker ranks by."""
    ranks: ClassVar[str | None] = None
    """The column of its own `columns` that a coreset is ranked by."""
    makes: ClassVar[tuple[str, ...]] = ()
    """The names of the columns that its `columns` gives."""
    nonnegative: ClassVar[bool] = False
    """Whether scores must be >= 0: a negative loss is then an error."""
    on_device: ClassVar[bool] = False
    """Whether it picks on the device of the scores, so that an accelerator need not wait."""
    random: ClassVar[bool] = False
    """Whether another seed may choose other samples."""
    one_by_one: ClassVar[bool] = False
    """Whether it accepts each row by a separate draw, so that accepted rows can wait for a full batch."""
    by_class: ClassVar[bool] = False
    """Whether it chooses inside each class and so needs labels."""
    grouped: ClassVar[bool] = False
    """Whether it chooses inside the groups of `Selector(groups=...)`."""
    nested: ClassVar[bool] = False
    """Whether it chooses only among the samples of the last choice."""
    carries: ClassVar[bool] = False
    """Whether a state holds numbers of it: the `notes` of the last choice over all samples, which the next
    one reads, or inside batches what it was settled with (`settled`)."""
    own_weights: ClassVar[bool] = False
    """Whether its choice comes with weights."""
    counts: ClassVar[Counts] = "size"
    """How many rows it keeps, for the laws of the budget.

    `exact`: the share `keep`. `least`: at least this share. `below_mean`: that share of the samples below the
    mean, and all others; `below_mean_at_random`: each of them with that probability. `halving`: all, then a
    half, a quarter, ..., never increasing. `size`: the number that `size` gives.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        refuse_taken_fields(cls, Picker, "by")
        return super().__new__(cls)

    @property
    def keeps(self) -> float | Schedule | None:
        """The share that it keeps, from its field `keep`. None if it has no such field."""
        found: float | Schedule | None = getattr(self, "keep", None)
        return found

    @property
    def share(self) -> float:
        """The share that it keeps, as a number; 1 if its choice is not a share."""
        return 1.0 if self.keeps is None else float(number(self.keeps))

    @property
    def fixed_subset(self) -> Subset | None:
        """The coreset that it always returns, if it has one that was chosen before the training."""
        return None

    def with_keep(self: Own, keep: float) -> Own:
        """A copy that keeps another share."""
        if self.keeps is None:
            raise ValueError(
                f"{type(self).__name__} takes no keep: it does not choose a share. Leave keep out."
            )
        changed: dict[str, Any] = {"keep": keep}
        return replace(self, **changed)  # type: ignore[type-var]  # every picker is a dataclass

    def balanced(self, by_class: bool) -> "Picker":
        """The same choice inside each class, or over all samples at once."""
        if by_class:
            raise ValueError(
                f"{type(self).__name__} cannot choose inside each class: it keeps no exact share. "
                "Use a picker such as TopK, or balance=False."
            )
        return self

    @property
    def provenance(self) -> Mapping[str, Any]:
        """The origin and cost of what it holds, if that was made before the training."""
        return {}

    def check_fits(self, n: int, fingerprint: Callable[[], str | None]) -> None:  # noqa: B027
        """Raise if it was made for other data than these `n` samples."""

    @abstractmethod
    def size(self, m: int, least: int = 0) -> tuple[int, bool]:
        """The number of rows it keeps of m, and whether that is exact. If not, it is an upper bound."""

    @abstractmethod
    def pick(self, pool: Pool) -> Picked:
        """Choose from the pool."""

    def rows(self, pool: Pool) -> Rows | None:
        """What `pick` chooses, without weights."""
        return self.pick(pool).rows

    def marked(self, pool: Pool) -> Marked:
        """Choose from very many rows: by `mark`, or by `pick` if a subclass has changed only that."""
        order = type(self).__mro__

        def newest(*names: str) -> int:
            return min(i for i, kind in enumerate(order) if any(name in vars(kind) for name in names))

        known = newest("mark", "sift") <= newest("pick", "take")
        return self.mark(pool) if known else Picker.mark(self, pool)

    def mark(self, pool: Pool) -> Marked:
        """Choose from very many rows, piece by piece, with memory for a few bits of each. Here: by `pick`.

        The rows are those of `pick`, except for uniform draws, which are others with the same distribution.
        """
        if pool.read is not None:
            pool = pool._replace(values=pool.read(torch.arange(pool.m)), read=None)
        picked = self.pick(pool)
        rows = Bits(pool.m) if picked.rows is None else Bits.of(pool.m, picked.rows)
        return Marked(rows, weights=picked.weights, notes=picked.notes)

    def settle(self, state: dict[str, Tensor]) -> "Picker":
        """The picker to use in the epoch that begins, computed from the memory."""
        return self

    @property
    def settled(self) -> Mapping[str, float]:
        """The numbers that `settle` found, for a picker that `carries` them."""
        return {}

    def settled_with(self, numbers: Mapping[str, float]) -> "Picker":
        """The picker of an epoch that goes on, with the numbers of a saved state."""
        return self

    def refuse(self, m: int) -> None:  # noqa: B027 - most pickers can choose from any number
        """Raise if it cannot choose from m candidates, whatever their scores are."""

    def columns(self, pool: Pool) -> dict[str, Tensor]:
        """Score columns that the choice itself makes; called once, when a static score is final."""
        return {}

    @property
    def everything(self) -> bool:
        """Whether it always keeps all rows, so that no score is needed."""
        return self.size(1 << 20) == (1 << 20, True)

    @property
    def uneven(self) -> bool:
        """Whether it may keep different numbers of rows of batches of equal size."""
        return not self.size(1 << 20)[1]

    def mean_over(self, b: int, k: int) -> int:
        """The divisor of the mean loss of k rows that were chosen from a batch of b."""
        return k


class Budgeted(Picker):
    """A picker that keeps an exact share."""

    keep: float | Schedule
    counts: ClassVar[Counts] = "exact"

    def balanced(self, by_class: bool) -> Picker:
        return PerClass(self) if by_class else self

    def size(self, m: int, least: int = 0) -> tuple[int, bool]:
        keep: Any = self.keep  # a number: schedules are resolved when an epoch opens
        return ranking.budget(m, keep, least), True

    def pick(self, pool: Pool) -> Picked:
        k, _ = self.size(pool.m, pool.least)
        return Picked() if k == pool.m else Picked(self.take(pool, k))

    def mark(self, pool: Pool) -> Marked:
        k, _ = self.size(pool.m, pool.least)
        return Marked(Bits(pool.m) if k == pool.m else self.sift(pool, k))

    def sift(self, pool: Pool, k: int) -> Bits:
        """Exactly k rows as bits, chosen as `mark` says. A picker without it chooses by `take`."""
        return Picker.mark(self, pool).rows

    @property
    def everything(self) -> bool:
        return self.keep == 1

    def reason(self, pool: Pool, row: int, k: int) -> str:
        """How it decides over a row of the pool, of which it keeps k, in a sentence or two."""
        return f"{type(self).__name__} keeps {k:,} of {pool.m:,} samples."

    @abstractmethod
    def take(self, pool: Pool, k: int) -> Rows:
        """Exactly k rows, ascending."""


class Around(Budgeted):
    """A picker that wraps a picker of an exact share, and takes its attributes from it."""

    inner: Budgeted

    @property
    def keep(self) -> float | Schedule:  # type: ignore[override]
        """The value of the inner picker. The same holds for the attributes below."""
        return self.inner.keep

    @property
    def nonnegative(self) -> bool:  # type: ignore[override]
        return self.inner.nonnegative

    @property
    def random(self) -> bool:  # type: ignore[override]
        return self.inner.random

    @property
    def by(self) -> str | None:  # type: ignore[override]
        return self.inner.by

    @property
    def ranks(self) -> str | None:  # type: ignore[override]
        return self.inner.ranks

    @property
    def makes(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.inner.makes

    def with_keep(self: Own, keep: float) -> Own:
        changed: dict[str, Any] = {"inner": self.inner.with_keep(keep)}  # type: ignore[attr-defined]
        return replace(self, **changed)  # type: ignore[type-var]  # every picker is a dataclass

    def refuse(self, m: int) -> None:
        self.inner.refuse(m)


@dataclass(frozen=True)
class PerClass(Around):
    """Another picker inside each class. The budget is divided by largest remainder, so the total is exact."""

    inner: Budgeted
    by_class: ClassVar[bool] = True

    def balanced(self, by_class: bool) -> Picker:
        return self if by_class else self.inner

    def take(self, pool: Pool, k: int) -> Rows:
        classes = self._classes(pool)
        quotas = ranking.largest_remainder(k, torch.tensor([len(members) for members in classes]))
        rows = [
            members if quota == len(members) else members[self.inner.take(inside(pool, members), quota)]
            for members, quota in zip(classes, quotas.tolist(), strict=True)
        ]
        return torch.cat(rows).sort().values

    def columns(self, pool: Pool) -> dict[str, Tensor]:
        made: dict[str, Tensor] = {}
        for members in self._classes(pool):
            for name, column in self.inner.columns(inside(pool, members)).items():
                made.setdefault(name, column.new_empty(pool.m))[members] = column
        return made

    def _classes(self, pool: Pool) -> tuple[Rows, ...]:
        """The rows of every class number."""
        if pool.labels is None:
            raise ValueError(
                "PerClass needs labels, got none. Give Selector(..., labels=tensor of n class numbers)."
            )
        return torch.split(pool.labels.argsort(stable=True), pool.labels.bincount().tolist())


def inside(pool: Pool, members: Rows) -> Pool:
    """A pool of these rows only."""
    return pool._replace(
        m=len(members),
        values={name: column[members] for name, column in pool.values.items()},
        ids=None if pool.ids is None else pool.ids[members],
        labels=None,
        before=None,
        times=None if pool.times is None else pool.times[members],
    )
