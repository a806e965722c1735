"""The engine of static methods: record every sample, make a score final, keep a coreset from then on."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from samplewise.coresets.choose import choose, unchanged
from samplewise.data.ids import few
from samplewise.engine.engine import Engine
from samplewise.engine.records import Records
from samplewise.policy import Policy
from samplewise.subset import Subset

__all__ = ["Static"]

Ids = Int[Tensor, " b"]


class Static(Engine):
    """One static policy, or a `Recorder` of several.

    Every sample is planned until a score is final. After that, a single policy plans its coreset; a recorder
    continues to plan every sample.
    """

    memory: Records

    def __init__(
        self,
        policy: Policy,
        n: int,
        epochs: int,
        seed: int,
        labels: Int[Tensor, " n"] | None = None,
        compact: bool | None = None,
    ) -> None:
        memory = Records(policy, n, epochs, seed, labels)
        super().__init__(memory, seed, compact)
        self.records = memory.records
        self._alone = next((record for record in self.records.values() if record.policy is policy), None)
        if len(self.records) == 1 and policy.signals:
            (self._ranked,) = self.records

    def pass_ids(self, epoch: int) -> Ids:
        wanted = any(record.passes_before(epoch) for record in self.records.values())
        return torch.arange(self.n if wanted else 0)

    def pass_reads(self, epoch: int) -> set[str]:
        passing = [record.policy for record in self.records.values() if record.passes_before(epoch)]
        return {field for policy in passing for field in policy.reads}

    def picks_rows(self) -> bool:
        return any("gradient_norm" in self.pass_reads(epoch) for epoch in range(self.epoch, self.epochs + 1))

    def covers(self, epoch: int) -> bool:
        return any(r.policy.source == "training" and epoch < r.final for r in self.records.values())

    def preview(self, epoch: int) -> tuple[int, bool]:
        if self.opened and epoch == self.epoch:
            return len(self.last_plan), True
        if self._alone is None or epoch < self._alone.final:
            return self.n, True
        picker = self.policy.picker
        return (self.n, True) if picker is None else picker.size(self.n)

    def select(self, epoch: int) -> Subset:
        self.finish()
        if self._alone is not None and epoch >= self._alone.final and self._selected_in < 0:
            plan = self.subset(None)
            self._selected_in = epoch
            self.memory.selected(epoch, plan)
            return plan
        return Subset(torch.arange(self.n)) if self._plan is None else self._plan

    def subset(self, name: str | None, provenance: Mapping[str, Any] | None = None, **wanted: Any) -> Subset:
        name = self.policy.find(name)
        self._refuse_unfinished(name)
        record = self.records[name]
        if record.policy.fixed_subset is not None:
            return unchanged(record.policy.fixed_subset, **wanted)
        columns = self.memory.shown(name)
        all_kept = record.keeps_all and wanted.get("keep") in (None, 1)
        if record.policy.signals and not self.memory.of(name) and not all_kept:
            why = "nothing was observed: no selector.loss(batch) and no observe(ids, ...)"
            if record.keeps_all:
                why = "it keeps all samples, so it was not scored. Build it with the keep that you want"
            raise ValueError(f"{name} has no scores: {why}.")
        given = (columns, self.n, self.memory.labels, self.seed)
        return choose(record.policy, name, *given, provenance=provenance, **wanted)

    def _refuse_unfinished(self, name: str) -> None:
        """Raise unless the score of a method is final."""
        record = self.records[name]
        self.finish()
        if record.done:
            return
        if self.epoch < record.final:
            raise ValueError(
                f"the score of {name} is final after {record.final} epochs, but {self.epoch} are done. "
                f"Epochs {self.epoch} to {record.final - 1} are missing: train them first."
            )
        missing = self._missing(record.final)
        raise ValueError(
            f"{name} needs a pass after epoch {record.final - 1}: {len(missing)} samples, first ids "
            f"{few(missing)}, were not observed. Observe pass_ids({record.final}) with source='pass'."
        )
