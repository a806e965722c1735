"""`PromptSelector`: plans the prompts of each reinforcement learning step by their posterior pass rates."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from samplewise.checks import Range, check_arguments, warn
from samplewise.coresets.table import ScoreTable
from samplewise.data.ids import whole
from samplewise.distributed import collectives
from samplewise.prompts.draws import Draw, closest
from samplewise.prompts.groups import OpenStep, as_rewards, passed
from samplewise.prompts.ledger import PromptLedger
from samplewise.prompts.saved import open_step, refuse_damaged, state_of
from samplewise.rng import numpy_generator

__all__ = ["PromptSelector"]

Positive = Annotated[float, Range(0, open_low=True)]
Ids = Int[Tensor, " b"]


class PromptSelector:
    """Chooses the prompts that a GRPO-style loop rolls out: those that pass about half of the time.

    A group of roll-outs whose rewards are all equal has the advantage 0 and teaches nothing. So every prompt
    has a Beta posterior of its pass rate. A step takes the `batch_size` prompts whose pass rates are closest
    to 1/2, without repeats. One step:

        ids = selector.plan(step)                  # the same on every rank
        while len(ids):
            mine = selector.share(ids)             # with several processes: the share of this one
            useful = selector.observe(mine, roll_out(mine))   # rewards (b, g) -> which groups vary (b,)
            ids = selector.replacements()          # leave it out to train on fewer groups instead

    Sources. The posterior, its discount and the draws are those of MoPPS (arXiv:2507.04632): a prompt with s
    passes in k roll-outs gets alpha <- d alpha + (1 - d) alpha_0 + s and beta <- d beta + (1 - d) beta_0 +
    k - s, one pass rate is drawn from every Beta(alpha, beta), and the closest to 1/2 are taken. That a pass
    rate of 1/2 is best is shown by "online difficulty filtering" (arXiv:2504.03380), where the bound of the
    improvement is p (1 - p). Replacements are the dynamic sampling of DAPO (arXiv:2503.14476, section 3.2).
    Ours: MoPPS chooses among the prompts of a larger batch; here among all. DAPO draws replacements
    uniformly; here the posterior draws them. `fade`, because training also moves prompts that are not rolled
    out. Ties are settled at random.

    Memory: 12 bytes a prompt (two float32 counts and one int32).

    Args:
        n: the number of prompts. Ids are positions in `range(n)`.
        batch_size: the prompts of a step, of all processes together.
        success: the least reward of a roll-out that passes. None: rewards are 0 or 1. It matters only for
            the posterior: a group varies if its rewards do.
        discount: d: the share of a prompt's counts that is left when it is rolled out again.
        fade: the share of all counts that is left after n / batch_size steps. 1: only prompts that are rolled
            out forget.
        prior: alpha and beta before any roll-out.
        draw: `thompson` draws a pass rate from each posterior; `mean` takes its mean; `uniform` draws prompts
            at random, as a control.
        tries: the most rounds of replacements in a step.
        seed: of the draws, together with the step and the round.

    Raises:
        ValueError: for numbers outside their range, and for `batch_size` > n.

    >>> selector = PromptSelector(n=6, batch_size=2)
    >>> ids = selector.plan(0)
    >>> selector.observe(ids, torch.tensor([[0, 0, 0, 0], [1, 0, 1, 0]]))
    tensor([False,  True])
    >>> len(selector.replacements())
    1
    """

    def __init__(
        self,
        n: Annotated[int, Range(1)],
        batch_size: Annotated[int, Range(1)],
        *,
        success: Annotated[float | None, Range()] = None,
        discount: Annotated[float, Range(0, 1)] = 0.5,
        fade: Annotated[float, Range(0, 1, open_low=True)] = 1.0,
        prior: tuple[Positive, Positive] = (1.0, 1.0),
        draw: Draw = "thompson",
        tries: Annotated[int, Range(0)] = 3,
        seed: Annotated[int, Range(0)] = 0,
    ) -> None:
        given = {
            "n": n, "batch_size": batch_size, "success": success, "discount": discount,
            "fade": fade, "prior": prior, "draw": draw, "tries": tries, "seed": seed,
        }  # fmt: skip
        check_arguments("PromptSelector", PromptSelector.__init__, given)
        if batch_size > n:
            raise ValueError(
                f"PromptSelector.batch_size must be at most n={n}, got {batch_size}: a step has no prompt "
                "twice. Give a smaller batch_size."
            )
        # Plain numbers: seeds and states are made of their texts, and NumPy's numbers have another one.
        self.n, self.batch_size, self.tries, self.seed = int(n), int(batch_size), int(tries), int(seed)
        self.success = None if success is None else float(success)
        self.discount, self.fade, self.draw = float(discount), float(fade), draw
        self.prior = float(prior[0]), float(prior[1])
        self._passes = torch.zeros(n, dtype=torch.float32)
        self._fails = torch.zeros(n, dtype=torch.float32)
        self._times = torch.zeros(n, dtype=torch.int32)
        self._open: OpenStep | None = None
        self._closed = PromptLedger()

    # ------------------------------------------------------------------------------ the step

    @property
    def step(self) -> int | None:
        """The step that was planned last, or None."""
        return None if self._open is None else self._open.step

    def plan(self, step: Annotated[int, Range(0)]) -> Int[Tensor, " batch_size"]:
        """The ids of the prompts of `step`, equal on every rank. The open step gives the same ids again.

        A new step closes the open one: what was observed enters the posteriors. With
        several processes every one must call it, because they exchange what they observed.

        Raises:
            ValueError: for a step before the open one, or if processes plan different steps.
        """
        check_arguments("plan", PromptSelector.plan, {"step": step})
        step, last = int(step), self.step
        if last is not None and step < last:
            raise ValueError(
                f"plan needs steps in ascending order, got step {step} after step {last}. To begin again, "
                "load a state or build a new PromptSelector."
            )
        if step != last:
            self._agree(step)
            if self._open is not None:
                self._close(self._open, step)
            self._open = OpenStep(step, torch.empty(0, dtype=torch.int64))
            self._draw(self._open, self.batch_size)
        return self._opened("plan").ids[: self.batch_size].clone()

    def observe(self, ids: Ids, rewards: Float[Tensor, "b g"] | Tensor) -> Bool[Tensor, " b"]:
        """Report roll-outs of prompts of the open step: `rewards` (b, g), g roll-outs of each id.

        Roll-outs of one prompt in one step add up: a group may come in parts, also from several processes.

        Returns:
            Which groups vary (b,), as far as this process knows. Train on those: the advantage of GRPO is 0
            in all others.

        Raises:
            TypeError: if ids or rewards are no tensors.
            ValueError: for ids that were not planned for this step or come twice in a call, rewards of
                another shape, rewards that are not finite, or that are not 0 or 1 without `success`.
        """
        opened = self._opened("observe")
        ids = whole(ids, "observe").cpu()
        rows = opened.rows_of(ids)
        found = as_rewards(rewards, ids, opened.step)
        passes = passed(found, self.success, ids).sum(1)
        if not len(ids):
            return torch.zeros(0, dtype=torch.bool)
        rollouts = torch.full_like(passes, found.shape[1])
        opened.local.add(rows, [passes, rollouts, found.amin(1), found.amax(1)])
        if collectives.world() == 1:
            opened.sync()
        low = torch.minimum(opened.known.low[rows], opened.local.low[rows])
        high = torch.maximum(opened.known.high[rows], opened.local.high[rows])
        return high > low

    def replacements(self) -> Int[Tensor, " k"]:
        """The ids that the open step still needs, equal on every rank; empty when there is nothing to do.

        First the planned prompts without a reward, which are asked for again. Then new ones: as many as are
        missing to `batch_size` groups that vary, never one that the step had. It is empty when the batch is
        full, after `tries` rounds, or when no prompt is left. With several processes every one must call it.
        """
        opened = self._opened("replacements")
        opened.sync()
        if bool((waiting := opened.waiting).any()):
            return opened.ids[waiting]
        needed = self.batch_size - int(opened.known.varied.sum())
        if needed <= 0 or opened.rounds > self.tries:
            return torch.empty(0, dtype=torch.int64)
        return self._draw(opened, needed)

    def share(self, ids: Ids) -> Int[Tensor, " k"]:
        """The part of `ids` that this rank rolls out: every `world`-th id. Sizes differ by at most one."""
        return ids[collectives.rank() :: collectives.world()]

    def sync(self) -> None:
        """Exchange what the processes observed. Every process calls it, before `state_dict` or `table`."""
        if self._open is not None:
            self._open.sync()

    # ------------------------------------------------------------------------------- exports

    @property
    def ledger(self) -> PromptLedger:
        """Roll-outs made, without variance, and of replacements, so far."""
        return self._closed if self._open is None else self._closed + self._counted(self._open)

    def table(self) -> ScoreTable:
        """One row a prompt: `alpha` and `beta` of its posterior, `pass_rate`, how often it was chosen.

        `pass_rate` is the mean of the posterior, NaN for a prompt that never got a reward.
        """
        passes, fails = self._counts("table")
        alpha, beta = self.prior[0] + passes.double(), self.prior[1] + fails.double()
        rate = (alpha / (alpha + beta)).masked_fill(passes + fails == 0, float("nan"))
        columns = {"pass_rate": rate, "alpha": alpha, "beta": beta}
        origin = {"n": self.n, "seed": self.seed, "selector": repr(self), "rollouts": asdict(self.ledger)}
        return ScoreTable(torch.arange(self.n), columns, self._times.clone(), provenance=origin)

    def state_dict(self) -> dict[str, Any]:
        """Everything at any moment, as `sw.save` and `torch.load(weights_only=True)` take it.

        Raises:
            ValueError: with several processes, if `sync` is needed first.
        """
        self._refuse_unknown("state_dict")
        return {
            "selector": repr(self),
            "passes": self._passes.clone(),
            "fails": self._fails.clone(),
            "times_selected": self._times.clone(),
            "open": None if self._open is None else state_of(self._open),
            "ledger": asdict(self._closed),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken, with any number of processes.

        `plan` of the open step gives its ids again. Roll-outs that are reported again are added.

        Raises:
            ValueError: if the state is damaged or of a selector with other settings; nothing is loaded then.
        """
        refuse_damaged(state, repr(self), self.n, self.batch_size)
        self._passes, self._fails = state["passes"].clone(), state["fails"].clone()
        self._times = state["times_selected"].clone()
        self._open = None if state["open"] is None else open_step(state["open"])
        self._closed = PromptLedger(**state["ledger"])

    def __repr__(self) -> str:
        return (
            f"PromptSelector(n={self.n}, batch_size={self.batch_size}, success={self.success}, "
            f"discount={self.discount}, fade={self.fade}, prior={self.prior}, draw={self.draw!r}, "
            f"tries={self.tries}, seed={self.seed})"
        )

    # -------------------------------------------------------------------------------- inside

    def _opened(self, call: str) -> OpenStep:
        if self._open is None:
            raise ValueError(f"{call} needs an open step. Call plan(step) first.")
        return self._open

    def _agree(self, step: int) -> None:
        """Raise in every process unless all have these settings and plan this step."""
        plans = collectives.everyone((step, repr(self)))
        if len(set(plans)) > 1:
            other = next(rank for rank, found in enumerate(plans) if found != plans[0])
            raise ValueError(
                "all processes must plan the same step with the same PromptSelector, but rank 0 plans "
                f"step {plans[0][0]} of {plans[0][1]}, and rank {other} step {plans[other][0]} of "
                f"{plans[other][1]}."
            )

    def _draw(self, opened: OpenStep, k: int) -> Int[Tensor, " k"]:
        """Plan one more round of `opened`: k prompts that it does not have, or all that are left."""
        free = torch.ones(self.n, dtype=torch.bool)
        free[opened.ids] = False
        pool = free.nonzero().squeeze(1)
        rng = numpy_generator(self.seed, opened.step, "prompts", opened.rounds)
        alpha, beta = self.prior[0] + self._passes[pool].double(), self.prior[1] + self._fails[pool].double()
        ids = pool[closest(alpha, beta, k, self.draw, rng)]
        opened.extend(ids)
        self._times[ids] += 1
        return ids.clone()

    def _close(self, opened: OpenStep, following: int) -> None:
        """Put what was observed into the posteriors, and let all fade up to the step that follows."""
        opened.sync()
        if bool(opened.waiting.all()):
            warn(
                f"no reward of step {opened.step} was observed, so it taught nothing about its prompts. Call "
                "observe before the next plan. A loader that fetches ahead plans too early."
            )
        self._passes, self._fails = self._counts("plan")
        self._closed = self._closed + self._counted(opened)
        if self.fade < 1:
            left = self.fade ** ((following - opened.step) * self.batch_size / self.n)
            self._passes *= left
            self._fails *= left

    def _counts(self, call: str) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """Passes and fails with those of the open step."""
        self._refuse_unknown(call)
        passes, fails = self._passes.clone(), self._fails.clone()
        if self._open is not None:
            known, seen = self._open.known, ~self._open.waiting
            ids, new, made = self._open.ids[seen], known.passes[seen], known.rollouts[seen]
            passes[ids] = self.discount * passes[ids] + new
            fails[ids] = self.discount * fails[ids] + (made - new)
        return passes, fails

    def _counted(self, opened: OpenStep) -> PromptLedger:
        """The ledger of one step, as far as all processes know it."""
        rollouts, seen = opened.known.rollouts, ~opened.waiting
        flat, later = seen & ~opened.known.varied, torch.arange(len(opened.ids)) >= self.batch_size
        return PromptLedger(
            steps=1,
            full=int(int(opened.known.varied.sum()) >= self.batch_size),
            groups=int(seen.sum()),
            rollouts=int(rollouts.sum()),
            flat_groups=int(flat.sum()),
            flat_rollouts=int(rollouts[flat].sum()),
            replacement_groups=int((seen & later).sum()),
            replacement_rollouts=int(rollouts[later].sum()),
            unobserved=int(opened.waiting.sum()),
        )

    def _refuse_unknown(self, call: str) -> None:
        """Raise if this process has observations that the others do not have."""
        if self._open is not None and bool(self._open.local.rollouts.any()):
            raise ValueError(
                "this process observed roll-outs that other processes do not know yet. Call "
                f"selector.sync() on every process before {call}()."
            )
