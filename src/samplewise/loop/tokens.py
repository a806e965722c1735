"""`Tokens`: which tokens of a step's rows carry a loss, what their reference costs, and their number."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from samplewise.cost.ledger import Ledger
from samplewise.data.ids import few
from samplewise.data.outputs import Batch, Outputs, as_outputs
from samplewise.engine.engine import Engine
from samplewise.loop.again import Chosen
from samplewise.loop.position import Position
from samplewise.loop.scoring import Scoring, device_of, without_trace
from samplewise.loop.scoring_forward import ScoringForward, shape_of
from samplewise.rng import generator
from samplewise.tokens.choice import TokenChoice
from samplewise.tokens.outputs import IGNORED, only
from samplewise.tokens.reference import Reference, ReferenceLosses, refuse_unknown_tokens

__all__ = ["Tokens"]


class Tokens:
    """The tokens of the rows that a step trains on.

    Args:
        engine: of a method that may choose tokens.
        ledger: is charged for the forwards of a reference model.
        position: the counts of the open epoch.
    """

    def __init__(self, engine: Engine, ledger: Ledger, position: Position) -> None:
        self.engine, self.ledger, self.position = engine, ledger, position
        choice = engine.policy.token_choice
        self.chooses = choice is not None
        """Whether the method chooses tokens."""
        given = None if choice is None else choice.reference
        self.reference = given if isinstance(given, Reference) else None
        """The reference, if it is a model that runs on every batch."""
        self._stored = given if isinstance(given, ReferenceLosses) else None
        self._run = ScoringForward(ledger)
        self._counts: Tensor | None = None
        self._knows = False
        """Whether the reference has embeddings for the tokens of the first batch."""

    @property
    def choice(self) -> TokenChoice | None:
        """What chooses tokens in the open epoch, with its numbers; None: all of them carry a loss."""
        engine = self.engine
        if engine.policy.token_choice is None or engine.over(engine.epoch):
            return None
        return engine.now(engine.epoch).token_choice

    # ----------------------------------------------------------------------- the reference

    def came(self, forward: Any, batch: Batch, chosen: Chosen) -> None:
        """Run the reference model on the rows that train, if the method compares with one.

        Args:
            forward: of the Selector.
            batch: the rows that train.
            chosen: keeps the losses until the model's own are there.
        """
        reference, choice = self.reference, self.choice
        if reference is None or choice is None or choice.share == 1:
            return
        run, there = forward_of(reference, forward), batch.ids.device
        if device_of(reference.model) != there:
            reference.model.to(there)
        if reference.forward is None and (batch.ids.is_cpu or not self._knows):
            refuse_unknown_tokens(reference.model, batch.data)
            self._knows = True
        with without_trace(reference.model, Scoring()):
            returned, flops = self._run.flops_of(shape_of(batch.ids, batch.data), lambda: run(batch.data))
        outputs = as_outputs(returned, len(batch), "Reference.forward")
        if outputs.token_losses is None:
            raise ValueError(
                "Reference.forward must return token_losses and token_targets. Return "
                "sw.token_outputs(logits, labels)."
            )
        self.ledger.scored_cheaply(len(batch), flops)
        chosen.reference = outputs

    def _above(
        self, chosen: Chosen, losses: Tensor, targets: Tensor, real: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b t"]:
        """The losses of the tokens, less those of the reference."""
        above = losses.detach().float()
        found, chosen.reference = chosen.reference, None
        if self._stored is not None:
            rows = slice(chosen.real)  # others are padding
            known = self._stored.look_up(chosen.ids[rows], targets[rows])
            above = torch.cat([above[rows] - known, above[len(known) :]])
        if found is None or found.token_losses is None or found.token_targets is None:
            return above
        same = found.token_targets.shape == targets.shape
        if not same or (targets.is_cpu and not found.token_targets.equal(targets)):
            raise ValueError(
                "Reference.forward must return the token_targets of the model's forward, but returned other "
                "ones. Use the same tokens and the same labels."
            )
        reference = torch.where(real, found.token_losses.float(), 0)
        self._refuse_infinite(chosen, reference.sum(1))
        return above - reference

    def _refuse_infinite(self, chosen: Chosen, sums: Float[Tensor, " b"]) -> None:
        """Raise for reference losses that are not finite; later, where raising now would stall or hang."""
        bad = self.engine.memory.bad
        if not sums.is_cpu:
            bad.flag(sums)
        elif self.engine.together:
            bad.set_aside(chosen.ids, sums)
        elif len(wrong := chosen.ids[~sums.isfinite()]):
            raise ValueError(
                f"the loss of the reference is not finite for ids {few(wrong)}. Give another reference."
            )

    # --------------------------------------------------------------------------- the choice

    def taken(self, chosen: Chosen, outputs: Outputs) -> Bool[Tensor, "b t"]:
        """The tokens that carry a loss. An evaluation of the same step again has the same ones."""
        losses, targets = outputs.token_losses, outputs.token_targets
        if losses is None or targets is None:
            raise ValueError(
                f"{self.engine.policy.name} chooses tokens, but forward returned no token_losses. Return "
                "sw.token_outputs(logits, labels) from every forward."
            )
        real = targets != IGNORED
        if chosen.real is not None:
            real = real & (torch.arange(len(real), device=real.device) < chosen.real)[:, None]
        if chosen.tokens is None:
            choice = self.choice
            if choice is None or choice.share == 1:
                chosen.tokens = real
            else:
                keys = self.engine.epoch, "tokens", self.position.batches, self.engine.memory.rank
                rng = generator(self.engine.seed, *keys)
                chosen.tokens = choice.take(self._above(chosen, losses, targets, real), real, rng)
        self.count(real.sum(), chosen.tokens.sum())
        return chosen.tokens

    def count(self, tokens: Int[Tensor, ""], trained: Int[Tensor, ""]) -> None:
        """Count tokens, and those of them that carry a loss. It does not wait for an accelerator."""
        counts = torch.stack([tokens, trained])
        self._counts = counts if self._counts is None else self._counts.to(counts.device) + counts

    def summed(self, chosen: Chosen, outputs: Outputs) -> Outputs:
        """The outputs with sums over the tokens that carry a loss, so that the reduced loss is their mean."""
        return only(outputs, self.taken(chosen, outputs))

    def means(self, chosen: Chosen, outputs: Outputs) -> tuple[Float[Tensor, " k"], Int[Tensor, " k"]]:
        """The mean of each row over its tokens that carry a loss, and their number. Both 0 without any."""
        tokens = self.taken(chosen, outputs)
        counts = tokens.sum(1)
        return only(outputs, tokens).loss / counts.clamp(min=1), counts

    def charge(self) -> None:
        """Add the tokens since the last call to the ledger. It waits for an accelerator."""
        if self._counts is not None:
            self.ledger.counted(*map(int, self._counts.tolist()))
            self._counts = None


def forward_of(reference: Reference, forward: Any) -> Callable[[Any], Any]:
    """The forward of a reference: its own, or the Selector's with the reference in place of the model.

    Raises:
        ValueError: if there is none.
    """
    if reference.forward is not None:
        return reference.forward
    of = getattr(forward, "of", None)
    if not callable(of):
        got = "None" if forward is None else getattr(forward, "__qualname__", type(forward).__name__)
        raise ValueError(
            "the reference needs a forward of its own, because the Selector's forward cannot run another "
            f"model: {got} has no `of(model)`. Give sw.tokens.Reference(model, forward), or build the "
            "Selector's forward with sw.language_model(model)."
        )
    made: Callable[[Any], Any] = of(reference.model)
    return made
