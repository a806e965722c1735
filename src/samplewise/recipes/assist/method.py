"""The method of AutoAssist: it sees a batch's data, asks an assistant, and lets it learn from the losses."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from samplewise.checks import Range
from samplewise.data.declared import Column, Fields, Maybe, Number, refuse_misfit
from samplewise.data.ids import few
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
"""The weight of a batch's mean loss in the moving average that losses are compared with."""

_LARGEST = 1e15
"""Of an input: moments of it are kept in float32."""

Ids = Int[Tensor, " b"]


class AutoAssist:
    """The method behind `auto_assist`.

    Args:
        base: the probability with which a row is accepted whatever the assistant says.
        lr: of the assistant's gradient steps.
        inputs: `batch`, or a function of a batch's data that gives the assistant's inputs (b, p).
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
        """Take up the data set's size and labels."""
        self.n, self.seed, self.labels = n, seed, labels
        self.classes = 0 if labels is None else int(labels.max()) + 1

    # -------------------------------------------------------------------------------- each step

    def plan(self, epoch: int) -> Int[Tensor, " n"]:
        """Every sample."""
        self.epoch, self.step = epoch, 0
        return torch.arange(self.n)

    def look(self, ids: Ids, data: Any) -> None:
        """Take in the inputs of a batch.

        Raises:
            ValueError: for inputs that are no (b, p) finite numbers, or of another width than before.
        """
        if isinstance(self.inputs, str):
            found = first_tensor(data)
            if found is None:
                raise ValueError(
                    "auto_assist found no tensor in the batch to learn from: give "
                    "auto_assist(inputs=function), which makes a (b, p) tensor of a batch's data."
                )
        else:
            found = self.inputs(data)
        self._take(ids, found)
        self._looked = True

    def _take(self, ids: Ids, found: Any) -> None:
        """Standardise the inputs of samples, and keep them until their losses are known."""
        b, width = len(ids), self.assistant.width
        what = (
            "the batch's first tensor" if isinstance(self.inputs, str) else "what auto_assist.inputs returns"
        )
        if not isinstance(found, Tensor) or found.is_complex() or found.dtype == torch.bool:
            kind = found.dtype if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(f"auto_assist: {what} must be a tensor of floats or whole numbers, got {kind}.")
        if not found.ndim or len(found) != b or not found.numel():
            raise ValueError(
                f"auto_assist: {what} must have one row for each of the {b} samples, got shape "
                f"{tuple(found.shape)}. Give auto_assist(inputs=function) that makes them of a batch's data."
            )
        inputs = found.detach().reshape(b, -1).float()
        if width not in (None, inputs.shape[1]):
            raise ValueError(
                f"auto_assist: {what} has {inputs.shape[1]} numbers a sample, but had {width} before: the "
                "assistant's input must not change its shape. Give auto_assist(inputs=function) that makes "
                "as many of every batch, as the mean over positions does."
            )
        if not torch.isfinite(inputs).all():
            bad = ids[~torch.isfinite(inputs).all(1).to(ids.device)]
            raise ValueError(f"auto_assist: {what} is not finite for ids {few(bad)}.")
        if (large := (inputs.abs() > _LARGEST).any(1)).any():
            raise ValueError(
                f"auto_assist: {what} is too large for ids {few(ids[large.to(ids.device)])}: it must be at "
                f"most {_LARGEST:g}. Scale it down."
            )
        self.assistant.to(inputs.device)
        z = self.assistant.standardised(inputs, self.classes)
        self._ids = ids.to(z.device)
        if self.labels is not None:
            labels = self.labels[ids.cpu()].to(z.device)
            z = torch.cat([z, F.one_hot(labels, self.classes).to(z)], 1)
        self._z = z

    def _inputs_of(self, ids: Ids) -> Float[Tensor, "b p"]:
        """The inputs taken in last, of these samples."""
        if self._ids is None or self._z is None:
            raise ValueError(_UNSEEN)
        same = ids.to(self._ids.device)[:, None] == self._ids
        if not same.any(1).all():
            raise ValueError(_UNSEEN)
        return self._z[same.int().argmax(1)]

    def choose(self, ids: Ids) -> tuple[Int[Tensor, " k"], None]:
        """Rows accepted with probability base + (1 - base) times the assistant's, at least 2."""
        large = self.assistant.chances(self._inputs_of(ids)).cpu().double()
        rng = generator(self.seed, self.epoch, "choose", self.step, collectives.rank())
        self.step += 1
        return accepted(self.base + (1 - self.base) * large, 2, rng, ids.cpu()), None

    def observe(self, ids: Ids, outputs: Outputs, source: str) -> None:
        """Learn which of the samples had a loss above the moving average, and move the average."""
        if not self._looked:
            if outputs.features is None:
                raise ValueError(_UNSEEN)
            first = torch.from_numpy(np.unique(ids.cpu().numpy(), return_index=True)[1]).sort().values
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

    # ------------------------------------------------------------------------- account and state

    @property
    def flops(self) -> int:
        """What the assistant has computed since this was set to 0, as `torch.utils.flop_counter` counts."""
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
        """Continue where `state_dict` was taken."""
        refuse_misfit("the state is damaged: auto_assist", state, _STATE)
        self.assistant.load_state_dict(state["assistant"])
        average = state["average"]
        self.average = None if average is None else average.clone()
        self.epoch, self.step = state["epoch"], state["step"]


_UNSEEN = (
    "auto_assist has not seen the inputs of these samples: call selector.look(ids, data) before "
    "selector.choose(ids), or observe sw.Outputs(loss=..., features=...)."
)
