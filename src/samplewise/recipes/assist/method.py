"""The method of `auto_assist`: it reads a batch's data, asks an assistant, and trains it on the losses."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from samplewise.checks import Range
from samplewise.data.declared import Column, Fields, Maybe, Number, refuse_misfit
from samplewise.data.ids import few, first_of_each
from samplewise.data.outputs import Outputs
from samplewise.distributed import collectives
from samplewise.pickers.accepting import accepted
from samplewise.recipes.assist.network import STATE, Assistant, first_tensor
from samplewise.rng import generator

__all__ = ["AutoAssist"]

_STATE = Fields(
    {
        "assistant": STATE,
        "average": Maybe(Column((torch.float32,), ())),
        "epoch": Number(Range(0), whole=True),
        "step": Number(Range(0), whole=True),
    }
)

_NEWEST = 0.1
"""The weight of a batch's mean loss in the moving average. Losses are compared with that average."""

_LARGEST = 1e15
"""The largest input allowed: moments of the inputs are kept in float32."""

Ids = Int[Tensor, " b"]


class AutoAssist:
    """The method behind `auto_assist`.

    Args:
        base: the least probability with which a row is accepted.
        lr: the learning rate of the assistant.
        inputs: `batch`, or a function of a batch's data that returns the assistant's inputs (b, p).
    """

    level, source, name = "batch", "training", "auto_assist"
    scores = False
    per_process = True

    def __init__(self, base: float, lr: float, inputs: Literal["batch"] | Callable[[Any], Tensor]) -> None:
        self.base, self.inputs = base, inputs
        shown = inputs if isinstance(inputs, str) else getattr(inputs, "__qualname__", type(inputs).__name__)
        self.params = {"base": base, "lr": lr, "inputs": shown}
        self.assistant = Assistant(lr)
        self.average: Tensor | None = None
        self.epoch = self.step = self.classes = 0
        self._ids: Tensor | None = None
        self._z: Tensor | None = None
        self._looked = False

    def start(self, n: int, epochs: int, seed: int, labels: Int[Tensor, " n"] | None) -> None:
        """Store the data set's size and labels."""
        self.n, self.seed, self.labels = n, seed, labels
        self.classes = 0 if labels is None else int(labels.max()) + 1

    # -------------------------------------------------------------------------------- each step

    def plan(self, epoch: int) -> Int[Tensor, " n"]:
        """All samples."""
        self.epoch, self.step = epoch, 0
        return torch.arange(self.n)

    def look(self, ids: Ids, data: Any) -> None:
        """Store the inputs of a batch.

        Raises:
            ValueError: if the inputs are not (b, p) finite numbers, or their width has changed.
        """
        if isinstance(self.inputs, str):
            found = first_tensor(data)
            if found is None:
                raise ValueError(
                    "auto_assist found no tensor in the batch to learn from. Give "
                    "auto_assist(inputs=function) with a function that returns a (b, p) tensor for a "
                    "batch's data."
                )
        else:
            found = self.inputs(data)
        self._take(ids, found)
        self._looked = True

    def _take(self, ids: Ids, found: Any) -> None:
        """Standardise the inputs and keep them until the losses are known."""
        b, width = len(ids), self.assistant.width
        what = (
            "the batch's first tensor" if isinstance(self.inputs, str) else "the result of auto_assist.inputs"
        )
        if not isinstance(found, Tensor) or found.is_complex() or found.dtype == torch.bool:
            kind = found.dtype if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(f"auto_assist: {what} must be a tensor of floats or whole numbers, got {kind}.")
        if not found.ndim or len(found) != b or not found.numel():
            raise ValueError(
                f"auto_assist: {what} must have one row for each of the {b} samples, got shape "
                f"{tuple(found.shape)}. Give auto_assist(inputs=function) with a function that returns them."
            )
        inputs = found.detach().reshape(b, -1).float()
        if width not in (None, inputs.shape[1]):
            raise ValueError(
                f"auto_assist: {what} must have the same width in every batch, got {inputs.shape[1]} numbers "
                f"a sample after {width} before. Give auto_assist(inputs=function) with a function that "
                "returns the same width for every batch, for example the mean over positions."
            )
        if not torch.isfinite(inputs).all():
            bad = ids[~torch.isfinite(inputs).all(1).to(ids.device)]
            raise ValueError(f"auto_assist: {what} is not finite for ids {few(bad)}.")
        if (large := (inputs.abs() > _LARGEST).any(1)).any():
            raise ValueError(
                f"auto_assist: {what} must be at most {_LARGEST:g}, but is larger for ids "
                f"{few(ids[large.to(ids.device)])}. Scale the inputs down."
            )
        self.assistant.to(inputs.device)
        z = self.assistant.standardised(inputs, self.classes)
        self._ids = ids.to(z.device)
        if self.labels is not None:
            labels = self.labels[ids.cpu()].to(z.device)
            z = torch.cat([z, F.one_hot(labels, self.classes).to(z)], 1)
        self._z = z

    def _inputs_of(self, ids: Ids) -> Float[Tensor, "b p"]:
        """The stored inputs of these samples."""
        if self._ids is None or self._z is None:
            raise ValueError(_UNSEEN)
        same = ids.to(self._ids.device)[:, None] == self._ids
        if not same.any(1).all():
            raise ValueError(_UNSEEN)
        return self._z[same.int().argmax(1)]

    def choose(self, ids: Ids) -> tuple[Int[Tensor, " k"], None]:
        """Accept rows with probability base + (1 - base) times the assistant's, at least 2 rows."""
        large = self.assistant.chances(self._inputs_of(ids)).cpu().double()
        rng = generator(self.seed, self.epoch, "choose", self.step, collectives.rank())
        self.step += 1
        return accepted(self.base + (1 - self.base) * large, 2, rng, ids.cpu()), None

    def observe(self, ids: Ids, outputs: Outputs, source: str) -> None:
        """Train the assistant on which losses are above the moving average, then update the average."""
        if not self._looked:
            if outputs.features is None:
                raise ValueError(_UNSEEN)
            first = first_of_each(ids.cpu())
            ids, outputs = ids[first], Outputs(outputs.loss[first], features=outputs.features[first])
            self._take(ids, outputs.features)
        z = self._inputs_of(ids)
        self._looked = False
        loss = outputs.loss.detach().to(z)
        known = torch.isfinite(loss)
        mean = torch.where(known, loss, 0).sum() / known.sum()
        average = mean if self.average is None else self.average.to(z)
        average = torch.where(average.isnan(), mean, average)
        self.assistant.learn(z, loss > average, known)
        self.average = torch.where(mean.isnan(), average, _NEWEST * mean + (1 - _NEWEST) * average)

    # -------------------------------------------------------------------------- ledger and state

    @property
    def flops(self) -> int:
        """FLOPs of the assistant since this was set to 0, as `torch.utils.flop_counter` counts them."""
        return self.assistant.flops

    @flops.setter
    def flops(self, value: int) -> None:
        self.assistant.flops = value

    def state_dict(self) -> dict[str, Any]:
        """The assistant, the average, and the number of the next draw."""
        average = None if self.average is None else self.average.clone()
        place = {"epoch": self.epoch, "step": self.step}
        return {"assistant": self.assistant.state_dict(), "average": average, **place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state that `state_dict` returned."""
        refuse_misfit("the state is damaged: auto_assist", state, _STATE)
        self.assistant.load_state_dict(state["assistant"])
        average = state["average"]
        self.average = None if average is None else average.clone()
        self.epoch, self.step = state["epoch"], state["step"]


_UNSEEN = (
    "auto_assist has not seen the inputs of these samples. Call selector.look(ids, data) before "
    "selector.choose(ids), or observe sw.Outputs(loss=..., features=...)."
)
