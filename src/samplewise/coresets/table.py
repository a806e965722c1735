"""`ScoreTable`: what was measured of every sample, in memory and as Parquet, and the subsets made of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from samplewise.checks import Range, check_arguments, nearest, require
from samplewise.coresets.choose import choose, ranked_column
from samplewise.coresets.explain import Explanation, explain
from samplewise.coresets.history import WORD, SelectionHistory
from samplewise.coresets.over_runs import Combine, over_runs, summed_costs
from samplewise.coresets.parse import parse
from samplewise.data.byid import by_id, class_numbers, numbers, refuse_other_length, whole_numbers
from samplewise.data.declared import Anything, Fields, Is, Items, Maybe, Named, Number, refuse_misfit
from samplewise.data.html import html_table
from samplewise.files.columns import array_of, arrow_table, naming, read_columns, write_columns
from samplewise.pickers import Pool
from samplewise.policy import Policy, Weighting
from samplewise.rng import generator
from samplewise.subset import Subset

__all__ = ["ScoreTable", "Subset"]


_PROVENANCE = Fields(
    {
        "n": Number(Range(0), whole=True),
        "seed": Maybe(Number(Range(0), whole=True)),
        "recipe": Is(str),
        "policy": Is(str),
        "fingerprint": Maybe(Is(str)),
        "methods": Named(Is(str)),
        "scoring": Named(Fields({"cost": Number(Range(0)), "seconds": Number(Range(0))})),
        "unfinished": Items(Is(str)),
        "runs": Items(Named(Anything())),
    },
    optional=True,
)
"""What is read of a table's origin when a subset is made of it, or tables are combined."""


@dataclass(frozen=True, init=False, repr=False)
class ScoreTable:
    """One row a sample: its id, every score column (NaN: never observed), how often it was selected.

    `times_selected` counts selections: epochs planned, or batches it was back-propagated in. A
    choice that is kept for a period counts once. `history` says which samples each selection took, if the
    Selector kept it; several runs that are combined have none.

    Rows may be given in any order, as tensors, lists, arrays or columns of a frame. They are sorted by id.

    Raises:
        ValueError: for ids that are negative or come twice, labels that are no class numbers, columns that
            are no numbers or of another length, and a `provenance` with values of a wrong type or range.
    """

    ids: Int[Tensor, " n"]
    columns: Mapping[str, Shaped[Tensor, " n"]]
    times_selected: Int[Tensor, " n"]
    labels: Int[Tensor, " n"] | None
    provenance: Mapping[str, Any]
    history: SelectionHistory | None

    def __init__(
        self,
        ids: Any,
        columns: Mapping[str, Any],
        times_selected: Any,
        labels: Any = None,
        provenance: Mapping[str, Any] | None = None,
        history: SelectionHistory | None = None,
    ) -> None:
        provenance = {} if provenance is None else provenance
        refuse_misfit("ScoreTable.provenance", provenance, _PROVENANCE)
        counted = isinstance(times_selected, Tensor) and times_selected.dtype == torch.int32
        if (times := times_selected if counted else whole_numbers(times_selected)) is None:
            raise ValueError(
                "ScoreTable.times_selected must be whole numbers, one for each id, got "
                f"{times_selected!r:.80}."
            )
        rows = {}
        for name, column in columns.items():
            rows[f"columns[{name!r}]"] = numbers(f"ScoreTable.columns[{name!r}]", column)
        rows["times_selected"] = times
        if labels is not None:
            rows["labels"] = class_numbers("ScoreTable.labels", labels, len(times))
        if isinstance(ids, range) and ids == range(len(times)):
            refuse_other_length("ScoreTable", len(ids), rows)
        else:
            ids, rows = by_id("ScoreTable", ids, rows)
        if history is not None and (history.n != len(ids) or (len(ids) and int(ids[-1]) != history.n - 1)):
            raise ValueError(
                f"ScoreTable.history is of {history.n} samples, so the table must have all of their "
                f"ids, got {len(ids)} rows."
            )
        own = {} if isinstance(ids, range) else {"ids": ids}
        own |= {
            "history": history,
            "times_selected": rows.pop("times_selected"),
            "labels": rows.pop("labels", None),
            "columns": dict(zip(columns, rows.values(), strict=True)),
            "provenance": provenance,
        }
        for name, value in own.items():
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        # Ids that count from 0 are made when they are first read: they take 8 bytes a sample.
        if name != "ids" or "times_selected" not in self.__dict__:
            raise AttributeError(f"ScoreTable has no attribute {name!r}.")
        object.__setattr__(self, name, torch.arange(len(self)))
        return self.__dict__[name]

    def __getitem__(self, name: str) -> Shaped[Tensor, " n"]:
        """A score column by name."""
        if name not in self.columns:
            has = ", ".join(self.columns) or "none"
            raise ValueError(f"no score column {name!r}.{nearest(name, self.columns)} Columns: {has}.")
        return self.columns[name]

    def __len__(self) -> int:
        return len(self.times_selected)

    def to_parquet(self, path: str | Path) -> None:
        """Write `id`, `label` if known, the score columns and `times_selected`; provenance in the schema.

        A history adds int64 columns: bit k of `history_0` says whether selection k took the sample, bit k of
        `history_1` the same of selection 64 + k.
        """
        write_columns(path, self._written(), self._noted())

    def to_arrow(self) -> Any:
        """The columns of `to_parquet` as a `pyarrow.Table`."""
        return arrow_table(self._written(), self._noted())

    def to_pandas(self) -> Any:
        """The columns of `to_parquet` as a `pandas.DataFrame`, which needs pandas."""
        written = {name: array_of(column) for name, column in self._written().items()}
        return require("pandas", "scores").DataFrame(written)

    def _named(self) -> dict[str, Tensor | range]:
        """Every column under the name that it has in a file."""
        labels = {} if self.labels is None else {"label": self.labels}
        ids = self.__dict__.get("ids", range(len(self)))
        return {"id": ids} | labels | dict(self.columns) | {"times_selected": self.times_selected}

    def _written(self) -> dict[str, Tensor | range]:
        """The columns of a file."""
        return self._named() | ({} if self.history is None else self.history.columns())

    def _noted(self) -> dict[str, Any]:
        """The metadata of a file."""
        history = {} if self.history is None else {"history": self.history.epochs}
        return dict(self.provenance) | history

    def __repr__(self) -> str:
        return f"ScoreTable({len(self):,} samples: {', '.join(self.columns) or 'no scores'})"

    def _repr_html_(self) -> str:
        named = self._named()
        rows = zip(*(array_of(column[:10]).tolist() for column in named.values()), strict=True)
        cells = [[f"{cell:.6g}" for cell in row] for row in rows]
        return html_table(cells, list(named), f"{self!r}, the first {len(cells)}")

    @classmethod
    def read(cls, path: str | Path) -> "ScoreTable":
        """Read what `to_parquet` wrote."""
        columns, provenance = read_columns(path, ("id", "times_selected"), ids="id")
        ids, times, labels = (
            columns.pop("id"),
            columns.pop("times_selected"),
            columns.pop("label", None),
        )
        with naming(path):
            history, epochs = None, provenance.pop("history", None)
            if epochs is not None:
                words = {name: columns.pop(name) for name in [*columns] if name.startswith(WORD)}
                if not isinstance(ids, range):
                    order = ids.argsort()
                    words = {name: word[order] for name, word in words.items()}
                history = SelectionHistory.from_columns(len(ids), epochs, words)
            return cls(ids, columns, times, labels, provenance, history)

    def policy(self, name: str) -> Policy:
        """The static policy whose scores are in the column `name`."""
        methods = self.provenance.get("methods", {})
        written = methods.get(name)
        if written is None and self.provenance.get("recipe") == name:
            written = self.provenance.get("policy")
        if written is None and name not in methods and name in self.columns:
            written = f"recipes.{name}()"
        if written is None:
            known = [*dict.fromkeys([*methods, *self.columns])]
            has = f" It has {', '.join(known)}." if known else ""
            raise ValueError(f"this table has no method {name!r}.{nearest(name, known)}{has}")
        policy = parse(written)
        if not isinstance(policy, Policy):
            raise ValueError(
                f"{written!r:.200} is a method without a Policy, so a table has no scores of it."
            )
        if policy.final is None:
            raise ValueError(f"{name} is a method of level {policy.level}: only static ones make a subset.")
        return policy

    def subset(
        self,
        name: str,
        *,
        keep: float | None = None,
        balance: bool | None = None,
        weights: Weighting | Literal["raw"] | None = None,
        normalize: Literal["mean1"] | None = None,
        seed: int | None = None,
    ) -> Subset:
        """The coreset of a static method whose scores are here: see `Selector.subset`.

        Args:
            name: of the method, as it was recorded.
            keep: the share kept; None: what the method was recorded with.
            balance: choose inside each class.
            weights: importance weights; None: the method's own.
            normalize: "mean1" divides them by their mean over the subset.
            seed: of the draws; None: the recording's.
        """
        policy = self.policy(name)
        if name in (unfinished := self.provenance.get("unfinished", ())):
            raise ValueError(
                f"the score of {name} was not final when this table was made (unfinished: "
                f"{', '.join(unfinished)}). Train to the end, then make the table again."
            )
        if self.provenance.get("combined") == "spread":
            raise ValueError(
                "this table has the spread of the scores over several runs, which is no score. Choose by the "
                "table of combine(tables, how='mean')."
            )
        self._refuse_partial()
        provenance = {
            key: value for key, value in self.provenance.items() if key not in ("methods", "columns")
        }
        provenance["scoring"] = self.provenance.get("scoring", {}).get(name)
        if seed is None:
            seed = int(provenance.get("seed") or 0)
        return choose(
            policy,
            name,
            self._inside(policy, name),
            len(self),
            self.labels,
            seed,
            keep,
            balance,
            weights,
            normalize,
            provenance | {"method": name, "draw_seed": seed},
        )

    def explain(self, name: str, id: int, **wanted: Any) -> Explanation:
        """Why a sample is in the coreset of a method, or not: print the result.

        Args:
            name: of the method, as it was recorded.
            id: of the sample.
            wanted: the arguments of `subset`, except for the name.

        Raises:
            ValueError: if there is no such sample, or `subset` raises.
        """
        policy, subset = self.policy(name), self.subset(name, **wanted)
        return explain(id, policy, name, self._inside(policy, name), self.labels, len(self), subset)

    def _inside(self, policy: Policy, name: str) -> dict[str, Tensor]:
        """The columns of a method under the names that its tracker and picker give them."""
        found = {
            key.removeprefix(f"{name}_"): column
            for key, column in self.columns.items()
            if key.startswith(f"{name}_")
        }
        ranks = ranked_column(policy)
        return found if ranks is None else found | {ranks: self[name]}

    def _ranks_of_means(self, columns: Mapping[str, Tensor], how: Combine) -> dict[str, Tensor]:
        """The rank columns of several runs, from their mean distances, because ranks have no mean."""
        made = {}
        for name in self.provenance.get("methods", {}):
            policy = self.policy(name)
            ranks = ranked_column(policy)
            if ranks == "order":
                raise ValueError(
                    f"{name} gives an order of picks: the orders of several runs cannot be combined."
                )
            if ranks == "rank" and how == "ucb":
                raise ValueError(
                    f"{name} ranks by a distance, so an upper bound over runs has no meaning. Use 'mean'."
                )
            if ranks == "rank" and policy.picker is not None:
                values = {"distance": columns[f"{name}_distance"]}
                pool = Pool(len(self), generator(0, "subset"), values, ranks, labels=self.labels)
                made[name] = policy.picker.columns(pool)["rank"]
        return made

    def _refuse_partial(self) -> None:
        """Raise unless there is a row for every sample. The ids ascend without repeats."""
        n = self.provenance.get("n", len(self))
        if len(self) != n or (n and int(self.ids[-1]) != n - 1):
            raise ValueError(
                "a coreset is chosen from the whole data set, so the table must have every id from 0 to "
                f"{n - 1} and no other, got {len(self)} rows."
            )

    @classmethod
    def combine(cls, tables: Sequence["ScoreTable"], how: Combine = "mean") -> "ScoreTable":
        """Combine several runs over one data set: one number of each score column, the sum of selections.

        Args:
            tables: of the runs, in their order.
            how: `mean` or `sum`; `spread` is the standard deviation over the runs (divisor R - 1), which
                shows how far models disagree, and no score to choose by; `ucb` is the running mean plus the
                running variance over the runs, with the weight 0.8 on the newest (arXiv:2111.12621, for
                EL2N over initialisations).

        Raises:
            ValueError: if the tables are not of the same data, methods and length of training.
        """
        if not tables:
            raise ValueError("combine needs at least one table.")
        check_arguments("combine", cls.combine, {"how": how})
        if how in ("spread", "ucb") and len(tables) < 2:
            raise ValueError(
                f"combine(how={how!r}) needs at least two tables, got one. Score again, with another seed."
            )
        first = tables[0]
        for table in tables[1:]:
            first._refuse_other_runs(table)
        columns = {}
        for name in first.columns:
            columns[name] = over_runs([table.columns[name].double() for table in tables], how)
        if len(tables) > 1 and how != "spread":
            columns |= first._ranks_of_means(columns, how)
        times = torch.stack([table.times_selected for table in tables]).sum(0)
        provenance: dict[str, Any] = {"combined": how, "runs": [dict(table.provenance) for table in tables]}
        unfinished = {name for table in tables for name in table.provenance.get("unfinished", ())}
        provenance["unfinished"] = sorted(unfinished)
        kept = (
            "fingerprint",
            "methods",
            "columns",
            "recipe",
            "policy",
            "n",
            "model",
            "epochs",
            "label_noise",
        )
        provenance["scoring"] = summed_costs([table.provenance.get("scoring", {}) for table in tables])
        provenance |= {key: first.provenance[key] for key in kept if key in first.provenance}
        labels = next((table.labels for table in tables if table.labels is not None), None)
        return cls(first.ids, columns, times, labels, provenance)

    def _refuse_other_runs(self, table: "ScoreTable") -> None:
        """Raise unless `table` is of the same data, methods and length of training."""
        told = [[t.provenance.get(said) for said in ("fingerprint", "n")] for t in (self, table)]
        same = torch.equal(table.ids, self.ids) and told[0] == told[1]
        same = same and table.columns.keys() == self.columns.keys()
        if not same or not _labels_agree(self.labels, table.labels):
            raise ValueError("combine needs tables of the same data set with the same columns.")
        for said in ("methods", "epochs"):
            found = [t.provenance.get(said) for t in (self, table)]
            if found[0] != found[1]:
                raise ValueError(f"combine needs tables of the same {said}, got {found[0]} and {found[1]}.")


def _labels_agree(one: Tensor | None, other: Tensor | None) -> bool:
    """Whether the labels of two tables do not contradict: they are equal, or one table has none."""
    return one is None or other is None or torch.equal(one, other)
