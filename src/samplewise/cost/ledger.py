"""`Ledger`: the cost of a training and the savings by selection, in samples, forwards and seconds."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from samplewise.cost.energy import EnergyMeter
from samplewise.data.html import html_table

__all__ = ["BACKWARD", "FORWARD", "STAGES", "Ledger"]

STAGES = ("data", "scoring", "selecting", "training")
_OF_METER = ("_meter", "_energy_before", "_metered_before")
FORWARD, BACKWARD = 1, 2
"""Cost of a forward and of a backward of one sample, in forward units."""


class Ledger:
    """The costs of one run on one rank.

    Counts are in samples, not batches. A forward unit is the cost of one forward of one sample; a backward
    costs 2. "Ordinary training" means training on all samples.

    - `ordinary_samples`: samples that ordinary training would have back-propagated up to the same point.
    - `ordinary_again`: forward units of its repeated evaluations of the same batch, as SAM and LBFGS make
      them.
    - `proxy_share`: FLOPs of a forward of the proxy, divided by those of the model. The proxy is a narrow
      view of the model that trains with it and scores.
    - `cheap_scoring_forwards`, `cheap_flops`: rows that a cheaper forward scored, or a reference model, and
      the FLOPs of that. They are not in `scoring_forwards`.
    - `tokens`: of language models with a loss for every token, the tokens of the rows that were trained on.
    - `tokens_trained`: those of them that carried a loss. A token without one still costs its forward and
      backward: a dense model computes both for the whole row.
    - `seconds`: wall-clock time of this process. On an accelerator, work is queued: the time appears in the
      stage that waits for the queue.
    - `baseline_seconds`: set it to the time of an ordinary run to compare against it.
    - `selections`: for methods that tell numbers about their choices, those of every selection, with its
      `epoch`. `noise_budget` tells the share that it keeps and the noise.
    - `plain_steps`, `decisions`: with a gate, the batches that trained whole to be compared with narrowed
      ones, and what the gate decided: epoch, measured cost in plain steps, the limit, and what follows.
    """

    _meter: EnergyMeter | None = None
    plain_steps: int = 0
    decisions: Sequence[dict[str, float]] = ()

    def __init__(self, proxy: bool = False) -> None:
        self.samples_backpropagated = 0
        self.training_forwards = 0
        self.scoring_forwards = 0
        self.scoring_backwards = 0
        self.ignored_observations = 0
        self.ordinary_samples, self.ordinary_again = 0.0, 0.0
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self.plain_seconds, self.plain_samples = 0.0, 0
        self.baseline_seconds: float | None = None
        self.prior_cost, self.prior_seconds = 0.0, 0.0
        self.stretch = 1.0
        self.assistant_flops = 0
        self.forward_flops: float | None = None
        self.proxy, self.proxy_scoring_forwards = proxy, 0
        self.proxy_share: float | None = None
        self.cheap_scoring_forwards, self.cheap_flops = 0, 0
        self.tokens = self.tokens_trained = 0
        self.prior_flops = 0.0
        self.trained_before, self.ordinary_before = 0, 0.0
        self._energy_before: float | None = None
        self._metered_before = 0.0
        self.selections: list[dict[str, float]] = []

    def trained(self, samples: int, forward: bool = True) -> None:
        """Count samples with a backward, and with its training forward unless that was counted before."""
        self.training_forwards += samples * forward
        self.samples_backpropagated += samples

    def again(self, samples: int, ordinary: float, backward: bool) -> None:
        """Count a repeated evaluation of a step's loss. Ordinary training evaluates `ordinary` samples."""
        self.training_forwards += samples
        self.samples_backpropagated += samples * backward
        self.ordinary_again += (FORWARD + BACKWARD * backward) * ordinary

    def passed(self, forwards: int) -> None:
        """Count the forwards of a pass. If there is a proxy, the pass runs the proxy."""
        if self.proxy:
            self.proxy_scoring_forwards += forwards
        else:
            self.scoring_forwards += forwards

    def scored_cheaply(self, rows: int, flops: int) -> None:
        """Count rows that a cheaper forward scored, by its FLOPs (2 for a multiplication and an addition)."""
        self.cheap_scoring_forwards += rows
        self.cheap_flops += flops

    def counted(self, tokens: int, trained: int) -> None:
        """Count the tokens of the rows that were trained on, and those of them that carried a loss."""
        self.tokens += tokens
        self.tokens_trained += trained

    def scored(self, cost: float, seconds: float, flops: float = 0.0) -> None:
        """Add the cost of an earlier scoring run, in forward units and seconds.

        With `flops`, the units are forwards of another model, and stand in for them until the FLOPs of a
        forward are known.
        """
        self.prior_cost += cost
        self.prior_flops += flops
        self.prior_seconds += seconds

    def opened(self) -> None:
        """Note that an epoch begins, for its `kept_share`."""
        self.trained_before, self.ordinary_before = self.samples_backpropagated, self.ordinary_samples

    @property
    def kept_share(self) -> float | None:
        """Samples that the open epoch, or else the last one, back-propagated, beside ordinary training.

        None before its first sample.
        """
        ordinary = self.ordinary_samples - self.ordinary_before
        return (self.samples_backpropagated - self.trained_before) / ordinary if ordinary else None

    def measure_energy(self, meter: EnergyMeter) -> None:
        """Measure the energy from now on, with a meter such as `integrations.energy.ZeusMeter()`.

        After a resume call it again: the energy of all parts that were measured adds up.
        """
        self._energy_before, self._meter = self.energy_joules, meter
        self._metered_before = meter.joules() or 0.0

    @property
    def energy_joules(self) -> float | None:
        """Energy in joules while this run was measured, an estimate; None if nothing measures it.

        It is that of the whole machine, as far as its counters tell: idle power and other programs are in it.
        Do not add up the processes of one machine. An earlier scoring run is not in it.
        """
        now = None if self._meter is None else self._meter.joules()
        if now is None:
            return self._energy_before
        return (self._energy_before or 0.0) + now - self._metered_before

    def selected(self, epoch: int, notes: Mapping[str, float]) -> None:
        """Keep what a picker says about its selection for `epoch`."""
        self.selections.append({"epoch": epoch, **notes})

    def gated(self) -> None:
        """Keep `plain_steps` and `decisions` from now on: there is a gate."""
        self.plain_steps, self.decisions = 0, []

    def decided(self, **decision: float) -> None:
        """Keep a decision of the gate."""
        self.decisions = [*self.decisions, decision]

    def rescale(self, factor: float) -> None:
        """Multiply loaded counts by `factor`, for a run that continues on another number of ranks."""
        counts = ("samples_backpropagated", "training_forwards", "scoring_forwards", "scoring_backwards")
        more = ("ignored_observations", "proxy_scoring_forwards", "cheap_scoring_forwards")
        for name in (*counts, *more, "tokens", "tokens_trained", "trained_before"):
            setattr(self, name, round(getattr(self, name) * factor))
        self.prior_cost *= factor
        self.prior_flops *= factor
        self.ordinary_samples *= factor
        self.ordinary_again *= factor
        self.ordinary_before *= factor
        self.assistant_flops = round(self.assistant_flops * factor)
        self.cheap_flops = round(self.cheap_flops * factor)

    @property
    def wall(self) -> float:
        """Seconds of all stages, plus the earlier scoring run."""
        return self.wall_without_scoring + self.prior_seconds

    @property
    def wall_without_scoring(self) -> float:
        """Seconds of all stages of this run."""
        return sum(self.seconds.values())

    @property
    def cost(self) -> float:
        """Cost in forward units (1 per forward, 2 per backward), plus the earlier scoring run."""
        return self.cost_without_scoring + self.charged_prior

    @property
    def charged_prior(self) -> float:
        """Cost of the earlier scoring run in forward units of this run."""
        known = self.prior_flops and self.forward_flops
        return self.prior_flops / self.forward_flops if known and self.forward_flops else self.prior_cost

    @property
    def cost_without_scoring(self) -> float:
        """Cost of this run in forward units. Proxy passes count by FLOPs, in full until these are known."""
        share = 1 if self.proxy_share is None else self.proxy_share
        along = (FORWARD + BACKWARD) * self.samples_backpropagated * self.proxy
        forwards = self.training_forwards + self.scoring_forwards
        backwards = self.samples_backpropagated + self.scoring_backwards
        narrow = along + FORWARD * self.proxy_scoring_forwards
        whole = FORWARD * forwards + BACKWARD * backwards
        return whole + share * narrow + self.assistant_cost + self.cheap_cost

    @property
    def assistant_cost(self) -> float:
        """Cost of the assistant model in forward units, or 0 until the FLOPs of a forward are known."""
        return self.assistant_flops / self.forward_flops if self.forward_flops else 0

    @property
    def cheap_cost(self) -> float:
        """Cost of cheap scoring in forward units. In full until the FLOPs of a forward are known."""
        return self.cheap_flops / self.forward_flops if self.forward_flops else self.cheap_scoring_forwards

    @property
    def ordinary_cost(self) -> float:
        """Forward units that ordinary training would have spent up to the same point.

        `stretch` is the number of epochs of this run per epoch of ordinary training (strategy P: 1 / keep).
        """
        steps = (FORWARD + BACKWARD) * self.ordinary_samples
        return (steps + self.ordinary_again) / self.stretch

    @property
    def cost_share(self) -> float:
        """Cost divided by the cost of ordinary training."""
        return self.cost / self.ordinary_cost if self.ordinary_cost else 1.0

    @property
    def promised(self) -> float:
        """Share of the cost that selection saves: 1 - `cost_share`."""
        return 1 - self.cost_share

    @property
    def overhead(self) -> float:
        """Share of the wall-clock time that scoring and selecting took."""
        spent = self.seconds["scoring"] + self.seconds["selecting"] + self.prior_seconds
        return spent / self.wall if self.wall else 0.0

    @property
    def baseline(self) -> Literal["given", "estimated", "not measured"]:
        """The source of the time of ordinary training."""
        if self.baseline_seconds is not None:
            return "given"
        return "estimated" if self.plain_samples and self.plain_seconds else "not measured"

    @property
    def realised(self) -> float | None:
        """Share of the wall-clock time that selection saves. None if ordinary training's time is unknown.

        Without `baseline_seconds`, that time is estimated from the steps of this run that train full batches.
        """
        ordinary = self.baseline_seconds
        if ordinary is None and self.baseline == "estimated":
            ordinary = self.plain_seconds / self.plain_samples * self.ordinary_samples / self.stretch
        return 1 - self.wall / ordinary if ordinary else None

    def state_dict(self) -> dict[str, Any]:
        """All counts and times as plain numbers."""
        lists = {
            name: [dict(notes) for notes in found]
            for name, found in vars(self).items()
            if name in ("selections", "decisions")
        }
        told = {name: value for name, value in vars(self).items() if name not in _OF_METER}
        return {**told, "seconds": dict(self.seconds), "energy_joules": self.energy_joules, **lists}

    def __getstate__(self) -> dict[str, Any]:
        # A copy keeps what was measured, and measures no more: two ledgers must not share a meter.
        kept = {name: value for name, value in vars(self).items() if name not in _OF_METER}
        return {**kept, "_energy_before": self.energy_joules, "_metered_before": 0.0}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from saved counts and times. A state of an earlier version lacks some."""
        selections = [dict(notes) for notes in state["selections"]]
        told = {name: value for name, value in state.items() if name != "energy_joules"}
        vars(self).update(told, seconds=dict(state["seconds"]), selections=selections)
        self._energy_before = state.get("energy_joules")
        self._metered_before = 0.0 if self._meter is None else self._meter.joules() or 0.0
        if "trained_before" not in state:
            self.opened()

    def as_dict(self) -> dict[str, float | str | None]:
        """Counts, seconds by stage, costs and shares as plain numbers, for a logger.

        Shares are relative to ordinary training. `realised` is None if ordinary training's time is not known.
        `baseline` is the source of that time. Numbers about the last selection begin with `last_`.
        """
        counted = ("samples_backpropagated", "training_forwards", "scoring_forwards", "scoring_backwards")
        derived = (
            "cost",
            "ordinary_cost",
            "cost_share",
            "promised",
            "wall",
            "overhead",
            "realised",
            "baseline",
        )
        named = {name: getattr(self, name) for name in (*counted, *derived)}
        if (energy := self.energy_joules) is not None:
            named["energy_joules"] = energy
        if self.tokens:
            named |= {"tokens": self.tokens, "tokens_trained": self.tokens_trained}
        named |= {f"seconds_{stage}": seconds for stage, seconds in self.seconds.items()}
        last = self.selections[-1] if self.selections else {}
        return named | {f"last_{name}": value for name, value in last.items() if name != "epoch"}

    def __repr__(self) -> str:
        clock = "not measured" if self.realised is None else f"{self.realised:.1%} ({self.baseline})"
        return f"Ledger(saved by cost {self.promised:.1%}, by wall clock {clock})"

    def __str__(self) -> str:
        rows = self._rows()
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value:>14}" for name, value in rows)

    def _repr_html_(self) -> str:
        return html_table(self._rows(), caption=repr(self))

    def _rows(self) -> list[tuple[str, str]]:
        """The rows of the printed table: name and value."""
        realised = "not measured"
        if self.realised is not None:
            realised = f"{self.realised:.1%} ({self.baseline})"
        charged = []
        if self.prior_cost and self.ordinary_cost:
            without = 1 - self.cost_without_scoring / self.ordinary_cost
            charged = [
                ("of this, scoring run", f"{self.charged_prior:,.0f}"),
                ("saved without scoring run", f"{without:.1%}"),
            ]
        proxy = []
        if self.proxy:
            share = "not measured" if self.proxy_share is None else f"{self.proxy_share:.1%}"
            proxy = [
                ("scoring forwards, proxy", f"{self.proxy_scoring_forwards:,}"),
                ("proxy's share of FLOPs", share),
            ]
        assistant = []
        if self.assistant_flops:
            known = f"{self.assistant_cost:,.1f}" if self.forward_flops else "not measured"
            assistant = [("assistant, in forwards", known)]
        gate = []
        if self.decisions:
            last = self.decisions[-1]
            what = "pays" if last["pays"] else "undecided" if last["cost"] <= last["limit"] else "cheaper"
            gate = [("gate", f"{what if last['selects'] else 'ended'}, epoch {last['epoch']:g}")]
        if self.plain_steps:
            gate.append(("plain steps of the gate", f"{self.plain_steps:,}"))
        cheap = []
        if self.cheap_scoring_forwards:
            cheap = [
                ("scoring forwards, cheap", f"{self.cheap_scoring_forwards:,}"),
                ("of this, in forwards", f"{self.cheap_cost:,.1f}"),
            ]
        used = self.energy_joules
        energy = [] if used is None else [("energy in joules, estimated", f"{used:,.0f}")]
        tokens = []
        if self.tokens:
            tokens = [("tokens", f"{self.tokens:,}"), ("tokens with a loss", f"{self.tokens_trained:,}")]
        return [
            ("samples back-propagated", f"{self.samples_backpropagated:,}"),
            *tokens,
            ("training forwards", f"{self.training_forwards:,}"),
            ("scoring forwards", f"{self.scoring_forwards:,}"),
            *proxy,
            *cheap,
            *assistant,
            *((f"seconds {stage}", f"{seconds:.2f}") for stage, seconds in self.seconds.items()),
            *energy,
            ("cost in forwards", f"{self.cost:,.0f}"),
            *charged,
            *gate,
            *self._mean_notes(),
            ("saved by cost", f"{self.promised:.1%}"),
            ("saved by wall clock", realised),
        ]

    def _mean_notes(self) -> list[tuple[str, str]]:
        """The mean over the selections of each number that the method tells about them."""
        told: dict[str, list[float]] = {}
        for notes in self.selections:
            for name, value in notes.items():
                told.setdefault(name, []).append(value)
        told.pop("epoch", None)
        return [
            (f"mean {name.replace('_', ' ')}", f"{sum(values) / len(values):.3f}")
            for name, values in told.items()
        ]
