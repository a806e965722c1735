"""What comes out of an engine: tables, coresets, their provenance, and the cost of each score.

The columns of a table, and its Parquet form, are in `coresets/table.py`; those of a subset in `subset.py`.
"""

import copy
import inspect
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Literal

from jaxtyping import Int
from torch import Tensor, nn

from samplewise.coresets.table import ScoreTable, Subset
from samplewise.cost.ledger import Ledger
from samplewise.data.dataset import fingerprint
from samplewise.data.randomness import kept
from samplewise.engine.engine import Engine
from samplewise.files.versions import versions
from samplewise.policy import REGISTRY, Policy, Weighting

__all__ = ["Exports"]


class Exports:
    """Tables and subsets of an engine's scores.

    Args:
        engine: the method at work.
        ledger: gives the seconds until a score was final, and what the method says of its selections.
        dataset: the samples that are trained on; None for an engine without a data set.
        clean: the same samples without augmentation, if scores are computed from those.
        labels: their class numbers, if known.
        model: the model that scores, if there is one.
    """

    def __init__(
        self,
        engine: Engine,
        ledger: Ledger,
        dataset: Any,
        clean: Any,
        labels: Int[Tensor, " n"] | None,
        model: nn.Module | None,
    ) -> None:
        self.engine, self.ledger, self.labels, self.model = engine, ledger, labels, model
        self.data, self.clean = dataset if clean is None else clean, clean is not None
        self.spent: dict[str, dict[str, float]] = {}
        """Cost and seconds of each score that is final."""

    def table(self) -> ScoreTable:
        """One row a sample: its scores, how often it was selected, its label. And their provenance."""
        engine = self.engine
        columns = {name: column.to("cpu", copy=True) for name, column in engine.columns().items()}
        times = engine.times_selected.to("cpu", copy=True)
        history = copy.deepcopy(engine.memory.history)
        return ScoreTable(range(engine.n), columns, times, engine.labels, self.provenance(), history)

    def subset(
        self,
        method: str | None,
        *,
        keep: float | None,
        balance: bool | None,
        weights: Weighting | Literal["raw"] | None,
        normalize: Literal["mean1"] | None,
    ) -> Subset:
        """The coreset of a static method: see `Selector.subset`."""
        engine = self.static()
        provenance = self.provenance()
        name = method or (engine.policy.name if len(engine.records) == 1 else None)
        del provenance["columns"], provenance["unfinished"]  # these are about scores
        provenance["scoring"] = self.spent.get(name or "", {"cost": 0.0, "seconds": 0.0})
        return engine.subset(
            method, provenance, keep=keep, balance=balance, weights=weights, normalize=normalize
        )

    def static(self) -> Engine:
        """The engine, if its method is static.

        Raises:
            ValueError: for any other.
        """
        if not self.engine.records:
            raise self.engine.not_static
        return self.engine

    def note_final(self) -> None:
        """Note the cost of each score that became final, as if its method had been recorded alone.

        Its seconds are those of the run so far, without the seconds to make the other scores final.
        """
        engine = self.engine
        engine.finish()
        for name, record in engine.records.items():
            if record.scored and name not in self.spent:
                others = sum(other.seconds for other in engine.records.values() if other is not record)
                seconds = max(0.0, self.ledger.wall_without_scoring - others)
                self.spent[name] = {"cost": record.cost(engine.n), "seconds": seconds}

    def fingerprint(self) -> str | None:
        """A digest of these samples and labels. Random states are left as found."""
        if self.data is None:
            return None
        with kept():
            return fingerprint(self.data, self.labels)

    def provenance(self) -> dict[str, Any]:
        """The origin of a table or a subset."""
        engine = self.engine
        records = engine.records
        return {
            "recipe": engine.policy.name,
            "policy": repr(engine.policy),
            "n": engine.n,
            "fingerprint": self.fingerprint(),
            "model": None if self.model is None else _class_name(self.model),
            "epoch": engine.epoch,
            "epochs": engine.epochs,
            "seed": engine.seed,
            "methods": {name: _recorded(record.policy) for name, record in records.items()},
            "columns": {name: _meaning(record.policy) for name, record in records.items()},
            "scoring": dict(self.spent),
            "unfinished": engine.unfinished(),
            "scored_without_augmentation": self.clean,
            "versions": versions(),
        } | ({"selections": self.ledger.state_dict()["selections"]} if self.ledger.selections else {})

    def state_dict(self) -> dict[str, dict[str, float]]:
        """What the final scores cost."""
        return {name: dict(spent) for name, spent in self.spent.items()}

    def load_state_dict(self, state: dict[str, dict[str, float]]) -> None:
        """Continue with what the final scores cost."""
        self.spent = {name: dict(spent) for name, spent in state.items()}


def _class_name(model: nn.Module) -> str:
    """The class of a model, without wrappers that compile or distribute it."""
    for inside in ("module", "_orig_mod"):
        if isinstance(wrapped := getattr(model, inside, None), nn.Module):
            return _class_name(wrapped)
    return type(model).__name__


def _recorded(policy: Policy) -> str:
    """The method that made the scores. Groups divide its choice and change no score."""
    if policy.picker is None or not policy.picker.grouped:
        return repr(policy)
    own = {name: value for name, value in policy.params.items() if name != "groups"}
    return repr(replace(policy, params=MappingProxyType(own)))


def _meaning(policy: Policy) -> str:
    """The meaning of a method's column, from the docstring of its recipe."""
    said = inspect.getdoc(REGISTRY[policy.name]) if policy.name in REGISTRY else None
    return "higher: rather keep" if said is None else f"Higher: rather keep. {said}"
