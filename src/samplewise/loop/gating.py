"""`Gating`: the gate in a training: times steps, compares them, and makes selection cheaper or ends it."""

import time
from collections.abc import Mapping
from dataclasses import replace
from statistics import median
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from samplewise.checks import Range, warn
from samplewise.data.declared import Fields, Form, Is, Items, Maybe, Number
from samplewise.data.outputs import Batch
from samplewise.distributed import collectives
from samplewise.loop.gate import Comparison, Gate, Verdict, typical
from samplewise.loop.requirements import refuse_assembled, why_ungated
from samplewise.loop.rungs import cheaper, faster, settled
from samplewise.loop.step import Step
from samplewise.rng import seed_of

__all__ = ["Gating", "gate_for"]

_BLOCK = 4
"""Optimizer steps of one kind in a row. The first one is not measured: loading and caches settle."""
_PERIODS = 6
"""Epochs or periods before the first decision about a method that chooses for whole epochs."""


def gate_for(given: Any, step: Step) -> "Gating | None":
    """The gate of `Selector(gate=...)`; None if there is none, or if it has nothing to do for the method."""
    if not isinstance(given, bool | Gate):
        raise TypeError(f"Selector.gate must be True, False or a sw.Gate(...), got {type(given).__name__}.")
    if given is False:
        return None
    if why := why_ungated(step.engine):
        warn(f"gate is ignored: {step.policy.name} {why}.")
        return None
    refuse_assembled(step.policy, "a gate")
    return Gating(given if isinstance(given, Gate) else Gate(), step)


class Gating:
    """Decides for each batch of an epoch that narrows whether it trains whole, and when selection ends.

    Methods that choose inside batches are measured in rounds of a block of narrowed and a block of plain
    steps, whose order is drawn. So the machine's drift and other work meet both kinds alike. Methods that
    choose for whole epochs need no plain steps: their own steps are plain, without what selection adds.

    Args:
        gate: the settings.
        step: times are taken in its steps; its scoring may become cheaper.
    """

    def __init__(self, gate: Gate, step: Step) -> None:
        self.gate, self.step, self.engine, self.ledger = gate, step, step.engine, step.ledger
        self.by_rounds = self.engine.memory.counts_rows
        period = step.policy.refresh or step.policy.every
        self.period = 1 if self.by_rounds else period
        self.closed = False
        """Whether nothing is measured any more."""
        self.plain = False
        """Whether the batches train whole now, to be compared."""
        self.unit = 0
        """Optimizer steps since this comparison began."""
        self.rung = 0
        """How often scoring became cheaper."""
        self.spent, self.scored = 0.0, 0.0
        """Seconds of the measured steps that select, and seconds of scoring in them."""
        self.rows, self.ordinary, self.whole = 0, 0, True
        self.planned, self.plans = 0.0, 0
        self.marks = [0.0, 0.0, 0.0, 0.0]
        """Seconds of each stage in the ledger when the last epoch or period ended."""
        self._taken: list[list[float]] = [[], []]
        """Seconds of the narrowed and of the plain steps of this round."""
        self._mark: tuple[float, float, float] | None = None
        self._settled = False
        self._batch: Batch | None = None
        self.comparison = self._compare()
        self.ledger.gated()

    def _compare(self) -> Comparison:
        first = -(-self.gate.probation // (_BLOCK - 1)) if self.by_rounds else _PERIODS
        return Comparison(first, self.gate.limit)

    @property
    def ended(self) -> bool:
        """Whether selection has ended."""
        return self.engine.ends is not None

    # ---------------------------------------------------------------------------- one batch

    def narrows(self, batch: Batch, rows: int) -> bool:
        """Whether to narrow a batch. If its epoch narrows and it trains whole, its rows are counted here.

        Args:
            batch: about to be trained on.
            rows: number of its rows that are not padding.
        """
        if not self.engine.narrows:
            if not (self.by_rounds or self.closed) and self.step.policy.scores:
                self._batch = batch  # to try cheaper scoring on
            return False
        if self.ended:
            self.plain = True
        elif self.closed or not self.step.scores_epoch:
            self.plain = False
        elif self.step.position.batches % self.gate.accumulate == 0:
            self._begin(batch)
        if not (self.plain or self.ended):
            return True
        ids: Int[Tensor, " b"] = batch.ids[:rows]
        self.ledger.trained(rows)
        self.ledger.plain_steps += not self.ended
        begun = time.perf_counter()
        if self.engine.looks and not self.ended:
            self.engine.look(batch.ids, batch.data)
        self.engine.keep_all(ids)
        self.ledger.seconds["selecting"] += time.perf_counter() - begun
        return False

    def _begin(self, batch: Batch) -> None:
        """An optimizer step begins: take the time of the last one, maybe decide, and say what kind it is."""
        now = self._now()
        first = self.step.position.batches == 0
        if self._mark is not None and self._settled and not first:
            self._take(*(new - old for new, old in zip(now, self._mark, strict=True)))
        if first:
            self._plan()
        self._settled = not first and self._mark is not None
        if self.unit and self.unit % (2 * _BLOCK) == 0:
            self._end_round()
            if self.comparison.due:
                self._look(batch)
        self._mark = self._now()
        if self.closed:
            self.plain = self.ended
            return
        number, place = divmod(self.unit, 2 * _BLOCK)
        first_is_plain = seed_of(self.engine.seed, self.rung, "gate", number) % 2 == 0
        self.plain = (place < _BLOCK) == first_is_plain
        self.unit += 1

    def _now(self) -> tuple[float, float, float]:
        """The clock, with nothing queued; and the seconds so far of scoring and of selecting."""
        seconds = self.ledger.seconds
        return settled(self.step.model), seconds["scoring"], seconds["selecting"]

    def _take(self, wall: float, scoring: float, selecting: float) -> None:
        """Note the seconds of the step that has just ended, unless it was the first of its kind in a row."""
        if (self.unit - 1) % _BLOCK == 0:
            return
        if self.plain:
            seconds = wall - scoring - selecting
            self.ledger.plain_seconds += seconds
            self.ledger.plain_samples += (self.step.position.batch_size or 0) * self.gate.accumulate
        else:
            scoring /= self.step.scoring.every  # the epochs between have none
            seconds = self._share * (wall - (self.step.scoring.every - 1) * scoring) + self._extra
            self.spent += seconds
            self.scored += scoring * self._share
        self._taken[self.plain].append(seconds)

    def _end_round(self) -> None:
        """Note what a narrowed step cost in this round, in plain steps. Medians leave out single bursts."""
        narrowed, plain = (median(taken) if taken else 0.0 for taken in self._taken)
        self.comparison.costs.append(narrowed / plain if narrowed > 0 and plain > 0 else None)
        self._taken = [[], []]

    # ------------------------------------------------------------------------- plans of epochs

    @property
    def _share(self) -> float:
        """The plan's share of the rows of ordinary training."""
        position, engine = self.step.position, self.engine
        ordinary = position.rows_of(engine.n) if engine.n else 0
        return position.rows_of(len(engine.last_plan)) / ordinary if ordinary else 1.0

    @property
    def _extra(self) -> float:
        """Seconds of passes and plans for each batch of ordinary training."""
        position, engine = self.step.position, self.engine
        if not self.plans or not engine.n:
            return 0.0
        batches = max(1, position.rows_of(engine.n) // (position.batch_size or 1))
        period = self.step.policy.refresh or self.step.policy.every
        return self.planned / (-(-self.plans // period) * period) / batches

    def _plan(self) -> None:
        """Note what the plan of an epoch took, of a method that chooses for epochs too."""
        if self.step.policy.picker is not None:
            seconds = self.ledger.seconds
            self.planned += seconds["scoring"] + seconds["selecting"] - self.marks[1] - self.marks[2]
            self.plans += 1

    def accumulates(self, batches: int) -> None:
        """Take so many micro-batches as one optimizer step: a framework accumulates gradients."""
        self.gate = replace(self.gate, accumulate=max(batches, self.gate.accumulate))

    def opens(self) -> None:
        """An epoch opens, begins again or continues: its first step is not measured."""
        self._mark = None

    def closes(self) -> None:
        """An epoch ends. Methods that choose for whole epochs are judged here."""
        position, engine = self.step.position, self.engine
        if self.by_rounds:
            if engine.narrows and not self.closed and position.samples and not position.batches:
                self._give_up("the loop calls selector.choose, and the gate times the steps of selector.loss")
        elif not self.closed and engine.n:
            planned = position.rows_of(len(engine.last_plan))
            self.rows, self.ordinary = self.rows + planned, self.ordinary + position.rows_of(engine.n)
            self.whole = self.whole and position.rows_arrived >= planned
            if (engine.epoch + 1) % self.period == 0:
                self._end_period()
        if self.by_rounds or (engine.epoch + 1) % self.period == 0:
            self.marks = list(self.ledger.seconds.values())

    def _end_period(self) -> None:
        """Note what a period cost, in epochs of plain steps, if it selected anything."""
        data, scoring, selecting, training = (
            new - old for new, old in zip(self.ledger.seconds.values(), self.marks, strict=True)
        )
        plain, share = data + training, self.rows / max(1, self.ordinary)
        whole, self.whole, self.rows, self.ordinary = self.whole, True, 0, 0
        if share == 1 and not scoring:
            return
        if plain > 0 and whole:
            self.comparison.costs.append(share * (plain + scoring + selecting) / plain)
            self.spent, self.scored = self.spent + plain + scoring + selecting, self.scored + scoring
        else:
            self.comparison.costs.append(None)
        if self.comparison.due:
            self._look(self._batch)

    # ------------------------------------------------------------------------------- decisions

    def _look(self, batch: Batch | None) -> None:
        """Decide, with all processes, whether the numbers so far are enough to."""
        mine = self.comparison.costs, self.scored / self.spent if self.spent else 0.0
        ranks = collectives.everyone(mine)
        costs = [_mean(each) for each in zip(*(costs for costs, _ in ranks), strict=True)]
        verdict = self.comparison.look(costs)
        if verdict == "unmeasured":
            self._give_up(
                "too few steps could be timed. It needs epochs of at least 3 optimizer steps, and batches "
                "that come from selector.loader() or from an adapter"
            )
        elif verdict == "costs":
            self._cheapen(typical(costs), sum(scored for _, scored in ranks) / len(ranks), batch)
        elif verdict != "open":
            self.closed, self._batch = True, None
            self._record(verdict, typical(costs))

    def _cheapen(self, cost: float, scored: float, batch: Batch | None) -> None:
        """Selection costs too much: take the next rung that can pay, or end it.

        Args:
            cost: of selection, in plain steps.
            scored: the share of scoring in it.
            batch: to try a rung on.
        """
        measured, now = self._measured(cost), "Selection ends: every sample trains, with weight 1"
        for text, scoring, stays in cheaper(self.step):
            able = cost * (1 - scored * (1 - stays)) <= self.gate.limit
            if able and scoring.dtype != self.step.scoring.dtype:
                able = batch is not None and all(collectives.everyone(faster(self.step, scoring, batch)))
            if able:
                self.step.scoring, now = scoring, text
                break
        else:
            self.closed, self.plain, self._batch = True, True, None
            self.step.end_selection()
        self._record("costs", cost)
        self.rung, self.unit, self.spent, self.scored = self.rung + 1, 0, 0.0, 0.0
        self.comparison = self._compare()
        if collectives.rank() == 0:
            warn(f"gate: {measured} {now}, from epoch {self.engine.epoch} on.")

    def _measured(self, cost: float) -> str:
        """A sentence that says what was measured."""
        name, limit, number = self.step.policy.name, self.gate.limit, len(self.comparison.costs)
        if self.by_rounds:
            steps = number * (_BLOCK - 1)
            return (
                f"over {steps} narrowed and {steps} plain steps in turns, a narrowed step of {name} took "
                f"{cost:.2f} of a plain one, which trains on all rows. At most {limit:g} was allowed."
            )
        epochs = "epochs" if self.period == 1 else f"periods of {self.period} epochs"
        return (
            f"over {number} {epochs}, {name} took {cost:.2f} of the time of plain steps on all samples. At "
            f"most {limit:g} was allowed."
        )

    def _give_up(self, why: str) -> None:
        """Stop measuring, and say why once."""
        self.closed, self.plain, self._batch = True, False, None
        warn(f"gate: {self.step.policy.name} selects on without a gate: {why}.")

    def _record(self, verdict: Verdict, cost: float) -> None:
        """Add a decision to the ledger."""
        self.ledger.decided(
            epoch=self.engine.epoch,
            cost=cost,
            limit=self.gate.limit,
            pays=int(verdict == "pays"),
            bf16=int(self.step.scoring.dtype == torch.bfloat16),
            every=self.step.scoring.every,
            selects=int(not self.ended),
        )

    # ----------------------------------------------------------------------------------- state

    def shown(self) -> str:
        """What must be equal on all processes."""
        return f"{self.gate}, {self.rung}, {self.unit}, {self.engine.ends}"

    def state_dict(self) -> dict[str, Any]:
        """The numbers and the decisions so far, as plain values."""
        comparison = self.comparison
        return {
            "closed": self.closed,
            "plain": self.plain,
            "ends": self.engine.ends,
            "rung": self.rung,
            "bf16": self.step.scoring.dtype is torch.bfloat16,
            "every": self.step.scoring.every,
            "unit": self.unit,
            "looks": comparison.looks,
            "costs": list(comparison.costs),
            "taken": [list(taken) for taken in self._taken],
            "counts": [self.rows, self.ordinary, self.plans],
            "seconds": [self.spent, self.scored, self.planned, *self.marks],
            "whole": self.whole,
        }

    @staticmethod
    def form() -> Form:
        """The form of `state_dict`."""
        count, number = Number(Range(0), whole=True), Number(Range())
        return Fields(
            {
                **dict.fromkeys(("closed", "plain", "bf16", "whole"), Is(bool)),
                **dict.fromkeys(("rung", "unit", "looks"), count),
                "ends": Maybe(count),
                "every": Number(Range(1), whole=True),
                "costs": Items(Maybe(number)),
                "taken": Items(Items(number)),
                "counts": Items(count),
                "seconds": Items(number),
            }
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken. Call it before the engine loads its state."""
        self.closed, self.plain, self.rung, self.unit = (
            state["closed"],
            state["plain"],
            state["rung"],
            state["unit"],
        )
        dtype = torch.bfloat16 if state["bf16"] else None
        if (dtype or self.step.scoring.dtype) is dtype:
            self.step.scoring = replace(self.step.scoring, dtype=dtype, every=state["every"])
        self.comparison = self._compare()
        self.comparison.looks, self.comparison.costs = state["looks"], list(state["costs"])
        self._taken = [list(taken) for taken in state["taken"]]
        self.rows, self.ordinary, self.plans = state["counts"]
        (self.spent, self.scored, self.planned), self.marks = state["seconds"][:3], state["seconds"][3:]
        self.whole, self._mark = state["whole"], None
        self.engine.ends = state["ends"]
        if state["ends"] is not None:
            self.step.end_selection(state["ends"])


def _mean(costs: tuple[float | None, ...]) -> float | None:
    """The mean of a cost over the processes; None if one of them has none."""
    known = [cost for cost in costs if cost is not None]
    return sum(known) / len(known) if len(known) == len(costs) else None
