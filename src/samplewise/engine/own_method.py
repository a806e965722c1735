"""A method of your own: any object that observes, plans, chooses and saves its state."""

import copy
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from samplewise.coresets.history import SelectionHistory
from samplewise.data.outputs import Outputs, walk
from samplewise.engine.dynamic import Dynamic
from samplewise.engine.engine import Engine
from samplewise.engine.memory import Memory
from samplewise.engine.static import Static
from samplewise.policy import Policy
from samplewise.subset import Subset

__all__ = ["Adopted", "Method", "adopt"]

Ids = Int[Tensor, " b"]

_LEVELS = ("epoch", "batch", "epoch+batch")


@runtime_checkable
class Method(Protocol):
    """What your own method must have. A Selector works on a copy of it.

    At level "epoch" `selector.loss` reads the plan only. At "batch" and "epoch+batch" it calls `choose` for
    every batch. Before that it makes a scoring forward and calls `observe`, if `source` ("training" by
    default) contains "training" and `scores` is not False. These are optional:

    - `start(n, epochs, seed, labels)` is called once, `pass_ids(epoch)` before each epoch.
    - `columns()` gives the score columns.
    - `narrows` is False while batches stay whole. It and `scores` may change at any time.
    - `look(ids, data)` is called with the data of a batch before `choose`.
    - `flops` counts the method's own work. It is charged and set to 0.
    - `name` and `params` tell states of different methods apart.
    - `per_process` = True: each process keeps its own state, and all of them are saved.
    """

    level: str

    def observe(self, ids: Tensor, outputs: Outputs, source: str) -> Any: ...
    def plan(self, epoch: int) -> Any: ...
    def choose(self, ids: Tensor) -> tuple[Tensor, Tensor | None]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def adopt(
    policy: Any,
    n: int,
    epochs: int,
    seed: int,
    labels: Tensor | None,
    history: bool = False,
    compact: bool | None = None,
) -> Engine:
    """The engine for a policy or for your own method. With `history` it keeps what each selection takes."""
    engine: Engine
    if compact and not n:
        raise ValueError("compact=True needs the number of samples, got None. Leave it out for a stream.")
    if isinstance(policy, Policy):
        kind = Static if policy.level == "static" else Dynamic
        engine = kind(policy, n, epochs, seed, labels, compact)
    elif isinstance(policy, Method):
        engine = Adopted(policy, n, epochs, seed, labels, compact)
    else:
        raise TypeError(
            "policy must be a recipe's name, a Policy, or an object with level, observe, plan, choose, "
            f"state_dict and load_state_dict; got {policy!r}."
        )
    if history:
        _keep_history(engine)
    return engine


def _keep_history(engine: Engine) -> None:
    """Keep which samples each selection takes, from now on.

    Raises:
        ValueError: for a method that chooses in every batch, and for a stream without end.
    """
    if engine.memory.counts_rows or not engine.n:
        why = "chooses in every batch" if engine.n else "runs on a stream without end"
        raise ValueError(
            f"history=True needs a method that chooses for whole epochs, but {engine.policy.name} {why}. "
            "Leave it out: table().times_selected has the counts."
        )
    engine.memory.history = SelectionHistory(engine.n)


class OwnMemory(Memory):
    """The memory of your own method. The method remembers; checks, counts and merges are done here."""

    def __init__(self, method: Method, n: int, epochs: int, seed: int, labels: Tensor | None) -> None:
        if method.level not in _LEVELS:
            raise ValueError(f"level must be one of {_LEVELS}, got {method.level!r} from {method!r}.")
        name = getattr(method, "name", type(method).__name__)
        super().__init__(Policy(name=name, params=getattr(method, "params", {})), n, epochs, labels)
        self.method: Any = copy.deepcopy(method)
        self.sources = getattr(method, "source", "training").split("+")
        if hasattr(self.method, "start"):
            self.method.start(n=n, epochs=epochs, seed=seed, labels=labels)

    def remember(self, ids: Ids, outputs: Outputs, source: str, good: Tensor | None) -> None:
        self.method.observe(ids, outputs, source)

    def read(self) -> dict[str, Tensor]:
        return self.method.columns() if hasattr(self.method, "columns") else {}

    @property
    def counts_rows(self) -> bool:
        return "batch" in self.method.level

    def local_state(self) -> dict[str, Any] | None:
        return _on_cpu(self.method.state_dict()) if getattr(self.method, "per_process", False) else None

    def load_local_state(self, state: dict[str, Any]) -> None:
        self.method.load_state_dict(state)

    def state_dict(self, copied: bool = True) -> dict[str, Any]:
        return super().state_dict(copied) | {"method": self.method.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.method.load_state_dict(state["method"])
        super().load_state_dict(state)


class Adopted(Engine):
    """The engine of your own method, which plans and chooses. The engine checks and counts."""

    memory: OwnMemory

    def __init__(
        self,
        method: Method,
        n: int,
        epochs: int,
        seed: int,
        labels: Tensor | None,
        compact: bool | None = None,
    ) -> None:
        super().__init__(OwnMemory(method, n, epochs, seed, labels), seed, compact)

    @property
    def method(self) -> Any:
        """The engine's own copy of the method."""
        return self.memory.method

    def pass_ids(self, epoch: int) -> Ids:
        asks = epoch < self.epochs and not self.over(epoch) and hasattr(self.method, "pass_ids")
        return torch.as_tensor(self.method.pass_ids(epoch) if asks else [], dtype=torch.int64)

    def preview(self, epoch: int) -> tuple[int, bool]:
        opened = self.opened and epoch == self.epoch
        return (len(self.last_plan), True) if opened else (self.n, self.over(epoch))

    def select(self, epoch: int) -> Subset:
        planned = self.method.plan(epoch)
        ids, weights = (planned.ids, planned.weights) if hasattr(planned, "ids") else (planned, None)
        if not self.n:  # a stream without end is not planned
            return Subset(torch.arange(0))
        plan = Subset(_as_positions(ids, self.n, "plan"), _as_weights(weights, len(ids), "plan"))
        if not self.memory.counts_rows:
            self.memory.selected(epoch, plan)
        return plan

    def _decide(self) -> None:
        method = self.method
        self.observes_chosen = True
        self.uneven = self.memory.counts_rows
        self.computes, self.looks = hasattr(method, "flops"), hasattr(method, "look")

    @property
    def narrows(self) -> bool:  # type: ignore[override]
        """Read in every step, because a method may change it at any time. So is `scores_batches`."""
        narrows = self.memory.counts_rows and bool(getattr(self.method, "narrows", True))
        return narrows and not self.over(self.epoch)

    @property
    def scores_batches(self) -> bool:  # type: ignore[override]
        return "training" in self.memory.sources and bool(getattr(self.method, "scores", True))

    def picks_rows(self) -> bool:
        return self.memory.counts_rows

    def spent(self) -> int:
        if not self.computes:
            return 0
        flops, self.method.flops = int(self.method.flops), 0
        return flops

    def look(self, ids: Ids, data: Any) -> None:
        ids = self.known(ids, "look")
        if self.looks and len(ids):
            self.method.look(ids, data)

    def choose(self, ids: Ids) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"] | None]:
        ids = self.known(ids, "choose")
        if not len(ids):
            return ids, None
        self.step += 1
        chosen = self.method.choose(ids)
        if not (isinstance(chosen, tuple) and len(chosen) == 2):
            raise TypeError(f"choose must return (rows, weights), got {chosen!r:.80}.")
        rows = _as_positions(chosen[0], len(ids), "choose")
        if self.narrows:
            self.memory.count(ids[rows.to(ids.device)])
        return rows, _as_weights(chosen[1], len(rows), "choose")


def _on_cpu(state: Any) -> Any:
    """A state with its tensors on the CPU, to send to another process."""

    def move(leaf: Any, path: str) -> Any:
        return leaf.cpu() if isinstance(leaf, Tensor) else leaf

    return walk(state, move)


def _as_positions(found: Any, below: int, who: str) -> Int[Tensor, " k"]:
    """Positions as a tensor: int64, ascending without repeats, inside the range, at least one."""
    rows = torch.as_tensor(found)
    whole = rows.ndim == 1 and rows.dtype == torch.int64 and len(rows) > 0
    if not whole or rows[0] < 0 or rows[-1] >= below or (rows.diff() <= 0).any():
        raise ValueError(
            f"{who} must return int64 positions in [0, {below}), ascending, without repeats, at least one; "
            f"got {rows.dtype} of shape {tuple(rows.shape)}."
        )
    return rows


def _as_weights(weights: Any, k: int, who: str) -> Float[Tensor, " k"] | None:
    """Weights as a tensor: one for each position, finite and above 0."""
    if weights is None:
        return None
    found = torch.as_tensor(weights, dtype=torch.float32)
    if found.shape != (k,) or not torch.isfinite(found).all() or (found <= 0).any():
        raise ValueError(f"{who} must return {k} weights, finite and > 0, or None; got {weights!r:.80}.")
    return found
