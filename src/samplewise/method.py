"""The escape hatch: any object that observes, plans, chooses and saves its state runs as a method."""

import copy
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from samplewise.engine import Engine
from samplewise.outputs import Outputs
from samplewise.policy import Policy
from samplewise.scores import Subset

__all__ = ["Adopted", "Method", "adopt"]


@runtime_checkable
class Method(Protocol):
    """What an own method must have.

    It may also have `level`, `source`, `start(n, epochs, seed, labels)`, `pass_ids(epoch)`,
    `columns()` and `narrows`; a Selector works on its own copy.
    """

    def observe(self, ids: Tensor, outputs: Outputs, source: str) -> Any: ...
    def plan(self, epoch: int) -> Any: ...
    def choose(self, ids: Tensor) -> tuple[Tensor, Tensor | None]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def adopt(policy: Any, n: int, epochs: int, seed: int, labels: Tensor | None) -> Engine:
    """The engine for a policy, or around a method of one's own."""
    if isinstance(policy, Policy):
        return Engine(policy, n, epochs, seed, labels)
    if isinstance(policy, Method):
        return Adopted(policy, n, epochs, seed, labels)
    raise TypeError(
        "policy must be a recipe's name, a Policy, or an object with observe, plan, choose, "
        f"state_dict and load_state_dict; got {policy!r}."
    )


class Adopted(Engine):
    """An engine whose choices are another object's; epochs, checks and counts stay the engine's."""

    def __init__(self, method: Method, n: int, epochs: int, seed: int, labels: Tensor | None) -> None:
        super().__init__(Policy(name=type(method).__name__), n, epochs, seed, labels)
        self.method: Any = copy.deepcopy(method)
        if hasattr(self.method, "start"):
            self.method.start(n=n, epochs=epochs, seed=seed, labels=labels)
        self._sources = getattr(method, "source", "training").split("+")

    def remember(self, ids: Int[Tensor, " b"], outputs: Outputs, source: str, good: Tensor | None) -> None:
        self.method.observe(ids, outputs, source)

    def pass_ids(self, epoch: int) -> Int[Tensor, " k"]:
        found = self.method.pass_ids(epoch) if hasattr(self.method, "pass_ids") else []
        return torch.as_tensor(found, dtype=torch.int64)

    def preview(self, epoch: int) -> tuple[int, bool]:
        return (len(self.last_plan), True) if self.opened and epoch == self.epoch else (self.n, False)

    def _select(self, epoch: int) -> None:
        planned = self.method.plan(epoch)
        subset = planned if hasattr(planned, "ids") else Subset(torch.as_tensor(planned))
        self._plan = Subset(subset.ids, subset.weights)
        self.times_selected[subset.ids] += 1

    @property
    def narrows(self) -> bool:
        return bool(getattr(self.method, "narrows", False))

    def choose(self, ids: Int[Tensor, " b"]) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"] | None]:
        self.step += 1
        rows, weights = self.method.choose(ids)
        return rows, weights

    def columns(self) -> dict[str, Tensor]:
        return self.method.columns() if hasattr(self.method, "columns") else {}

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"method": self.method.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.method.load_state_dict(state["method"])
