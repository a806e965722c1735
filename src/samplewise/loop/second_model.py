"""`SecondModel`: a scorer at work. It scores, trains beside the model, and is equal on all processes."""

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import FunctionType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from samplewise.checks import Range
from samplewise.cost.ledger import Ledger
from samplewise.data.declared import Anything, Column, Fields, Form, Items, Maybe, Named, Number
from samplewise.data.outputs import Batch, Outputs, as_outputs, check_fields
from samplewise.data.randomness import lent_to
from samplewise.distributed import collectives
from samplewise.engine.engine import Engine
from samplewise.loop.again import Chosen
from samplewise.loop.scorers import Scorer, forward_for
from samplewise.loop.scoring import device_of
from samplewise.loop.scoring_forward import ScoringForward, shape_of
from samplewise.schedules import Schedule
from samplewise.signals import take_tokens

__all__ = ["SecondModel"]

Gradients = tuple[Tensor | None, ...]


class SecondModel(ScoringForward):
    """The small model of a `Scorer` in one training, with its optimizer.

    What the method remembers comes from this model alone: in steps that score, from the scoring forward; in
    other steps, where the model's training losses would be remembered, from the small model's.

    Args:
        scorer: describes it.
        engine: remembers the scores.
        ledger: is charged for scoring and for training.
        forward: of the Selector.
        model: the model that it scores for. The small model follows it to another device.
        view: the small model sees `view(data)`, also when it trains; None: all data.
    """

    apart = True

    def __init__(
        self,
        scorer: Scorer,
        engine: Engine,
        ledger: Ledger,
        forward: Any,
        model: nn.Module,
        view: Callable[[Any], Any] | None,
    ) -> None:
        super().__init__(ledger, view)
        self.cheap = True
        self.scorer, self.engine = scorer, engine
        self.met = 0
        """Number of meta-batches so far."""
        self._forward, self._beside = forward_for(scorer, forward), model
        self._optimizer: Optimizer | None = None
        self._epoch, self._learns = -1, False
        self._unchecked = engine.policy.needs
        here, there = device_of(scorer.model), device_of(model)
        if here != there:
            raise ValueError(
                f"Scorer.model must be on the device of Selector(model=...), which is {there}, got {here}. "
                "Move it there first."
            )

    # --------------------------------------------------------------------------------- scoring

    @property
    def model(self) -> nn.Module:  # type: ignore[override]  # a constant in the class above
        """The small model, on the device of the model: a framework may have moved that one."""
        small, there = self.scorer.model, device_of(self._beside)
        if device_of(small) != there:
            small.to(there)
            if self._optimizer is not None:
                self._optimizer.load_state_dict(self._optimizer.state_dict())  # moves its tensors
        return small

    def forward(self, given: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return self._forward

    def run(self, forward: Callable[[Any], Any], batch: Batch) -> Outputs:
        """The small model's forward, with its result checked."""
        outputs = as_outputs(self._forward(batch.data), len(batch), "Scorer.forward")
        if self._unchecked:
            policy = self.engine.policy
            check_fields(
                outputs, self._unchecked, f"{policy.name} with a scorer", take_tokens(policy.signals)
            )
            self._unchecked = ()
        return outputs

    # -------------------------------------------------------------------------------- training

    def came(self, batch: Batch, chosen: Chosen | None, real: int | None) -> None:
        """Train on a meta-batch if it is its turn, and remember the losses if nothing was scored."""
        begun = time.perf_counter()
        outputs = self._learn(batch, len(batch) if real is None else real)
        if chosen is not None:
            if outputs is not None and chosen.unseen and real != 0:
                ids, own = (batch.ids, outputs) if real is None else (batch.ids[:real], outputs.first(real))
                self.engine.memory.observe(ids, own, "training")
            chosen.unseen = False
        self.ledger.seconds["scoring"] += time.perf_counter() - begun

    def _learn(self, batch: Batch, real: int) -> Outputs | None:
        """One optimizer step on the mean loss of the real rows of all processes, every k-th time.

        A batch of one row is left out, because batch normalization fails with it.
        """
        every, turn, self.met = self.scorer.every, self.met, self.met + 1
        if self._epoch != self.engine.epoch:  # training ends with the last choice that needs scores
            self._epoch, self._learns = self.engine.epoch, self.engine.scores_later()
        if every is None or not self._learns or turn % every:
            return None
        small = self.model
        parameters = [parameter for parameter in small.parameters() if parameter.requires_grad]
        outputs, gradients, divisor = None, Gradients((None,) * len(parameters)), 0.0
        if len(batch) > 1:
            shown = Batch(batch.ids, self.seen(batch.data, len(batch)))
            with torch.enable_grad(), lent_to(small, "training beside", device_of(small)):
                found, flops = self.flops_of(
                    ("train", *shape_of(*shown)), lambda: self._backward(shown, real, parameters)
                )
            outputs, gradients, divisor = found
            self.ledger.scored_cheaply(0, flops)
        if collectives.world() > 1:
            gradients, divisor = self._averaged(parameters, gradients, divisor)
        if divisor:
            self._update(parameters, gradients)
        return outputs

    def _backward(
        self, batch: Batch, real: int, parameters: list[nn.Parameter]
    ) -> tuple[Outputs, Gradients, float]:
        """The outputs of a batch, the gradients of the mean loss of its real rows, and the mean's divisor."""
        outputs = self.run(self._forward, batch)
        normalizer = outputs.normalizer
        divisor = float(real if normalizer is None else normalizer[:real].sum())
        loss = outputs.loss[:real].float().sum() / (divisor or 1.0)
        if not loss.requires_grad:
            raise ValueError(
                "Scorer.forward must return losses that depend on the parameters of Scorer.model, but they "
                "have no gradient. For a model that is trained already give Scorer(every=None)."
            )
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        if all(gradient is None for gradient in gradients):
            raise ValueError(
                "Scorer.forward must run Scorer.model, but its losses depend on none of its parameters that "
                "require gradients."
            )
        return _detached(outputs), gradients, divisor

    def _update(self, parameters: list[nn.Parameter], gradients: Gradients) -> None:
        """One step of the optimizer, with these gradients. The `grad` of the parameters stays as it is."""
        optimizer = self._made()
        for group in optimizer.param_groups:
            group["lr"] = self.lr
        kept = [parameter.grad for parameter in parameters]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
        for parameter, before in zip(parameters, kept, strict=True):
            parameter.grad = before

    @property
    def lr(self) -> float:
        """The learning rate of the open epoch."""
        lr, engine = self.scorer.lr, self.engine
        return lr.at(min(engine.epoch, engine.epochs - 1), engine.epochs) if isinstance(lr, Schedule) else lr

    def _made(self) -> Optimizer:
        """The optimizer. It is built at its first step, when lazy layers have their shapes."""
        if self._optimizer is None:
            self._optimizer = self.built()
        return self._optimizer

    def built(self) -> Optimizer:
        """A new optimizer of the small model."""
        wanted = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        made: Any = self.scorer.optimizer(wanted, lr=self.lr)
        if not isinstance(made, Optimizer):
            raise TypeError(
                f"Scorer.optimizer must return a torch.optim.Optimizer, got {type(made).__name__}. It is "
                "called as optimizer(parameters, lr=lr)."
            )
        return made

    # ------------------------------------------------------------------------ several processes

    def settings(self) -> dict[str, Any]:
        """What must be equal on all processes."""
        return super().settings() | {"scorer": self.scorer.shown()}

    def share(self) -> None:
        """Take over the parameters and buffers of rank 0. Every process must call it."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        mine = _flat(tensors) if collectives.rank() == 0 else torch.zeros_like(_flat(tensors))
        _spread(collectives.add_up(mine), tensors)

    def _averaged(
        self, parameters: list[nn.Parameter], gradients: Gradients, divisor: float
    ) -> tuple[Gradients, float]:
        """The means of gradients and buffers over all processes, and the sum of the divisors.

        Buffers are averaged too, so batch norms are equal everywhere and all processes score alike.
        """
        found = [
            torch.zeros_like(parameter) if gradient is None else gradient
            for parameter, gradient in zip(parameters, gradients, strict=True)
        ]
        both = [*found, *self.model.buffers()]
        mine = _flat(both) * divisor
        added = collectives.add_up(torch.cat([mine, torch.full_like(mine[:1], divisor)]))
        if total := float(added[-1]):
            _spread(added[:-1] / total, both)
        return tuple(found), total

    # -------------------------------------------------------------------------- state and copies

    def __deepcopy__(self, memo: dict[int, Any]) -> "SecondModel":
        if isinstance(self._forward, FunctionType):
            raise TypeError(
                "this Selector cannot be copied: the forward of its scorer is a function, which continues to "
                "run the original small model. Give a forward that holds the model, as sw.classifier(model) "
                "does, or load state_dict() into a Selector with a copy of the small model."
            )
        made = type(self).__new__(type(self))
        memo[id(self)] = made
        vars(made).update(copy.deepcopy(vars(self), memo))
        return made

    def state_dict(self) -> dict[str, Any]:
        """The small model, its optimizer and its count of batches. Tensors are copies on the CPU."""
        optimizer = None if self._optimizer is None else _named(_copied(self._optimizer.state_dict()))
        return {"met": self.met, "model": _copied(dict(self.model.state_dict())), "optimizer": optimizer}

    def forms(self) -> Mapping[str, Form]:
        entries = {
            name: Column((value.dtype,), tuple(value.shape)) if isinstance(value, Tensor) else Anything()
            for name, value in self.model.state_dict().items()
        }
        return {
            "met": Number(Range(0), whole=True),
            "model": Fields(entries),
            "optimizer": Maybe(_Optimizer(self)),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.met, self._epoch = state["met"], -1
        self.model.load_state_dict(state["model"])
        self._optimizer = None
        if state["optimizer"] is not None:
            self._made().load_state_dict(_numbered(_copied(state["optimizer"])))


@dataclass(frozen=True)
class _Optimizer(Form):
    """The state of an optimizer of this small model."""

    second: SecondModel

    def misfits(self, value: Any, path: str) -> Iterator[tuple[str, str, str]]:
        form = Fields({"state": Named(Anything()), "param_groups": Items(Named(Anything()))})
        if found := list(form.misfits(value, path)):
            yield from found
            return
        try:
            self.second.built().load_state_dict(_numbered(_copied(value)))
        except (ValueError, KeyError) as error:
            yield path, "be of the same optimizer", f"another one: {error}"


def _detached(outputs: Outputs) -> Outputs:
    """The outputs without their graph."""
    values: dict[str, Any] = {
        name: value.detach() for name, value in vars(outputs).items() if isinstance(value, Tensor)
    }
    if outputs.head is not None:
        weight, bias = outputs.head
        values["head"] = (weight.detach(), None if bias is None else bias.detach())
    return replace(outputs, **values)


def _flat(tensors: list[Tensor]) -> Float[Tensor, " numbers"]:
    """All numbers of some tensors, one after the other, in float64. It holds whole numbers exactly."""
    parts = [tensor.detach().double().flatten() for tensor in tensors]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)


def _spread(numbers: Float[Tensor, " numbers"], tensors: list[Tensor]) -> None:
    """Write numbers in the order of `_flat` into the tensors. Whole numbers are rounded."""
    parts = torch.split(numbers, [tensor.numel() for tensor in tensors])
    with torch.no_grad():
        for tensor, part in zip(tensors, parts, strict=True):
            whole = not tensor.is_floating_point()
            tensor.copy_((part.round() if whole else part).reshape(tensor.shape))


def _named(state: dict[str, Any]) -> dict[str, Any]:
    """The state of an optimizer with text in place of the numbers of its parameters, as files need it."""
    return {**state, "state": {str(number): entry for number, entry in state["state"].items()}}


def _numbered(state: dict[str, Any]) -> dict[str, Any]:
    """The state of an optimizer from `_named`."""
    return {**state, "state": {int(name): entry for name, entry in state["state"].items()}}


def _copied(state: Any) -> Any:
    """The same nested value with copies of its tensors on the CPU."""
    if isinstance(state, Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, Mapping):
        return {key: _copied(value) for key, value in state.items()}
    if isinstance(state, list):
        return [_copied(value) for value in state]
    return state
