"""A small real model that counts what is run through it, and a training loop with a Selector."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Subset

from samplewise.data.outputs import Batch, Outputs
from samplewise.loop.scoring import Scoring
from samplewise.loop.target import reads_target
from samplewise.policy import Policy
from samplewise.selector import Selector
from samplewise.testing.trace import TARGET, Trace, by_tokens

__all__ = ["CountingModel", "ToyData", "ToyForward", "Training", "state_of", "with_target"]


class CountingModel(nn.Module):
    """A classifier with batch norm and dropout that counts rows forwarded with and without gradient.

    `rows_backward` counts the rows whose gradient arrived.
    """

    def __init__(self, classes: int = 3, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            # Two channels of four values, so that a last batch of one row has a variance.
            norm = nn.Sequential(nn.Unflatten(1, (2, 4)), nn.BatchNorm1d(2), nn.Flatten())
            self.body = nn.Sequential(nn.Linear(4, 8), norm, nn.ReLU(), nn.Dropout(0.3))
            # As users freeze one: `train()` must not wake it for good.
            self.frozen = nn.BatchNorm1d(8).eval()
            self.fc = nn.Linear(8, classes)
            self.narrow = nn.Linear(4, classes)
        self.rows_with_grad = self.rows_without_grad = self.rows_backward = 0
        self.narrow_with_grad = self.narrow_without_grad = 0

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, classes)."""
        features = self.frozen(self.body(x))
        self.features = features.detach()  # with its graph the model could not be copied
        logits: Tensor = self.fc(features)
        if not torch.is_grad_enabled():
            self.rows_without_grad += len(x)
            return logits
        self.rows_with_grad += len(x)
        logits.register_hook(self._arrived)  # type: ignore[no-untyped-call]  # torch's stub has no types
        return logits

    def proxy(self, x: Tensor) -> Tensor:
        """Logits (b, classes) of a part of its own that is cheaper."""
        if torch.is_grad_enabled():
            self.narrow_with_grad += len(x)
        else:
            self.narrow_without_grad += len(x)
        logits: Tensor = self.narrow(x)
        return logits

    @property
    def proxy_share(self) -> float:
        """The FLOPs of `proxy` in shares of those of `forward`, counted by hand."""
        classes = self.fc.out_features
        return 4 * classes / (4 * 8 + 8 * classes)

    def _arrived(self, gradient: Tensor) -> None:
        self.rows_backward += len(gradient)


class ToyData:
    """Samples as dicts of features, target and id. `draws=True` reads every global random state."""

    def __init__(self, trace: Trace, draws: bool = False) -> None:
        self.x, self.targets, self.draws = trace.features[0], trace.targets, draws

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, Any]:
        noise = 0.0
        if self.draws:
            noise = random.random() + np.random.rand() + float(torch.rand(()))  # noqa: NPY002 - the point of it
        return {"x": self.x[index] + noise, "y": self.targets[index], "id": index}


def state_of(model: nn.Module) -> dict[str, Any]:
    """Copies of everything that a scoring forward must leave alone, the global random states included."""
    return {
        "parameters and buffers": {name: t.detach().clone() for name, t in model.state_dict().items()},
        "gradients": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "flags": [module.training for module in model.modules()],
        "torch": torch.get_rng_state(),
        "numpy": repr(np.random.get_state()),  # noqa: NPY002 - read, not drawn from
        "python": repr(random.getstate()),
    }


class ToyForward:
    """Per-sample losses of a batch of `ToyData`: the model's, or the trace's while the model still runs.

    With `watch` it notes the state of everything at the start of every forward with gradient.
    """

    def __init__(
        self, model: CountingModel, trace: Trace, real: bool, watch: bool, tokens: bool = False
    ) -> None:
        self.model, self.trace, self.real, self.watch, self.tokens = model, trace, real, watch, tokens
        self.selector: Selector | None = None
        self.states: list[dict[str, Any]] = []

    def __call__(self, data: dict[str, Any]) -> Outputs:
        outputs = self._of_rows(data)
        return by_tokens(outputs, data["id"]) if self.tokens else outputs

    def _of_rows(self, data: dict[str, Any]) -> Outputs:
        if self.watch and torch.is_grad_enabled():
            self.states.append(state_of(self.model))
        logits = self.model(data["x"])
        if self.real or self.selector is None:
            loss = F.cross_entropy(logits, data["y"], reduction="none")
            head = (self.model.fc.weight, self.model.fc.bias)
            return Outputs(loss, logits, data["y"], self.model.features, head)
        return self._shown(data, logits, self.selector)

    def proxy(self, data: dict[str, Any]) -> Outputs:
        """The same of the model's narrow part."""
        logits = self.model.proxy(data["x"])
        if self.real or self.selector is None:
            loss = F.cross_entropy(logits, data["y"], reduction="none")
            return Outputs(loss, logits, data["y"], data["x"], (self.model.narrow.weight, None))
        return self._shown(data, logits, self.selector)

    def _shown(self, data: dict[str, Any], logits: Tensor, selector: Selector) -> Outputs:
        shown = self.trace.outputs(data["id"], selector.epoch)
        loss = shown.loss + 0 * logits.sum(1).to(shown.loss.dtype)
        return Outputs(loss, shown.logits, shown.targets, shown.features, shown.head)


def with_target(policy: Any, scoring: Scoring | None, data: Any) -> Scoring | None:
    """The scoring, with the first samples of the data as the target set if the method needs one."""
    if not (isinstance(policy, Policy) and reads_target(policy.signals)):
        return scoring
    target = Subset(data, TARGET.tolist())
    return replace(scoring or Scoring(mode=policy.mode or "eval"), target=target)


@dataclass
class Training:
    """One training with a Selector, batch after batch.

    With `real=False` the losses come from the trace, so that the same id shows the same loss in the
    same epoch; with `real=True` they are the model's. With `tokens` they are by token; None: if the method
    needs that.
    """

    policy: Any
    trace: Trace
    batch: int = 7
    seed: int = 0
    scoring: Scoring | None = None
    labels: Tensor | None = None
    real: bool = False
    watch: bool = False
    gate: bool = False
    tokens: bool | None = None
    arguments: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.model = CountingModel()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05, momentum=0.9)
        self.data = ToyData(self.trace)
        self.scoring = with_target(self.policy, self.scoring, self.data)
        if self.tokens is None:
            self.tokens = "token_losses" in getattr(self.policy, "needs", ())
        self.forward = ToyForward(self.model, self.trace, self.real, self.watch, self.tokens)
        self.selector = Selector(
            self.policy, self.data, self.forward, model=self.model, epochs=self.trace.epochs,
            batch_size=self.batch, seed=self.seed, labels=self.labels, scoring=self.scoring, gate=self.gate,
        )  # fmt: skip
        self.forward.selector = self.selector
        self.loader = self.selector.loader(**self.arguments)
        self.seen: list[tuple[int, Batch]] = []
        self.losses: list[Tensor] = []

    def steps(self) -> Iterator[int]:
        """Train to the end; yields the epoch after every step."""
        for epoch in range(self.selector.epoch, self.trace.epochs):
            for batch in self.loader:
                self.seen.append((epoch, batch))
                loss = self.selector.loss(batch)
                self.losses.append(loss.detach().clone())
                self.optimizer.zero_grad()
                torch.autograd.backward(loss)
                self.optimizer.step()
                yield epoch

    def finish(self) -> "Training":
        """Train to the end at once."""
        for _ in self.steps():
            pass
        return self

    def told(self) -> list[tuple[int, Tensor, Tensor]]:
        """Epoch, ids and loss of every step, for comparison."""
        return [(e, batch.ids, loss) for (e, batch), loss in zip(self.seen, self.losses, strict=True)]
