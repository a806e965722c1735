"""`Early`: a scoring forward that ends at a layer of the model; a small head on it gives the losses."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from samplewise.checks import nearest
from samplewise.cost.ledger import Ledger
from samplewise.data.declared import Form, Is
from samplewise.data.outputs import Batch, Outputs, check_shapes, walk
from samplewise.engine.engine import Engine
from samplewise.loop.head import Head
from samplewise.loop.head_targets import Targets, check_targets, learned, scored
from samplewise.loop.scoring_forward import ScoringForward
from samplewise.policy import Policy
from samplewise.signals import take_tokens

__all__ = ["Early", "check_early"]


class _Left(BaseException):
    """Carries a layer's output out of the user's forward, which may catch `Exception`."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output


class Early(ScoringForward):
    """Ends the scoring forward at a layer, by an exception that a hook of the layer raises.

    The head learns from every training batch but the first, whose FLOPs are the unit of the ledger. It takes
    the output of the layer in the training forward itself. Hooks are there for one forward only.

    Args:
        ledger: is charged with the FLOPs of forward and head.
        view: scores see `view(data)`.
        at: name of the layer in `model.named_modules()`.
        user_model: the model that the forward runs.
        targets: of the head.
        policy: what it reads, the head must give.
        seed: of the head.
    """

    learns = True

    def __init__(
        self,
        ledger: Ledger,
        view: Callable[[Any], Any] | None,
        at: str,
        user_model: nn.Module,
        targets: Targets,
        policy: Policy,
        seed: int,
    ) -> None:
        super().__init__(ledger, view)
        self.cheap, self.at, self.user_model, self.targets = True, at, user_model, targets
        self.head, self.policy, self._unchecked = Head(targets.classes, seed), policy, True
        self.begun = False
        """Whether the first training batch has passed the layer."""
        self._hook: Any = None
        self._awaited: tuple[Batch, int] | None = None

    def run(self, forward: Callable[[Any], Any], batch: Batch) -> Outputs:
        """The losses of the head, and what else it gives."""
        output = self._output(forward, batch)
        found = scored(self.head, output, self.targets.of(batch), _mask(batch.data), self._where)
        if self._unchecked:
            self._check(found)
        return found

    def _check(self, found: Outputs) -> None:
        """Raise if the head does not give what the method reads."""
        policy = self.policy
        if lacks := [name for name in policy.needs if getattr(found, name) is None]:
            raise ValueError(
                f"{self._where} cannot be used with {policy.name}, which needs {' and '.join(lacks)}: a head "
                "on numbers or tokens does not give that. Leave out at."
            )
        check_shapes(found, policy.needs, take_tokens(policy.signals))
        self._unchecked = False

    @property
    def _where(self) -> str:
        return f"Scoring.at={self.at!r}"

    def _output(self, forward: Callable[[Any], Any], batch: Batch) -> Any:
        """What the layer returns in a forward of a batch, which ends there."""
        if any(hasattr(type(module), "reshard") for module in self.user_model.modules()):
            raise ValueError(
                "Scoring.at cannot be used with a model that fully_shard shards: its weights are freed at "
                "the end of a forward. Leave out at."
            )

        def leave(layer: nn.Module, inputs: Any, output: Any) -> None:
            raise _Left(output)

        hook = self._layer().register_forward_hook(leave)
        try:
            forward(batch.data)
        except _Left as left:
            return left.output
        finally:
            hook.remove()
        raise ValueError(
            f"Scoring.at must name a layer that forward runs, but {self.at!r} did not run. Name another. "
            "If the model is compiled, leave out at: hooks of its layers are not called."
        )

    def trains(self, batch: Batch, real: int | None) -> None:
        """Take the output of the layer in the next forward with gradients, and train the head on it."""
        self._release()
        self._awaited = batch, len(batch) if real is None else real
        self._hook = self._layer().register_forward_hook(self._take)

    def _take(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        if not torch.is_grad_enabled() or self._awaited is None:
            return
        batch, real = self._awaited
        self._release()
        if self.begun:
            with torch.no_grad(), torch.autocast(batch.ids.device.type, enabled=False):
                rows = learned(output, self.targets.of(batch), _mask(batch.data), self._where, real)
                flops = self.head.learn(*rows)
            self.ledger.scored_cheaply(0, flops)
        self.begun = True

    def _layer(self) -> nn.Module:
        return self.user_model.get_submodule(self.at)

    def _release(self) -> None:
        if self._hook is not None:
            self._hook.remove()
        self._hook = self._awaited = None

    # ----------------------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """The head with its optimizer."""
        return {"head": self.head.state_dict(), "begun": self.begun}

    def forms(self) -> Mapping[str, Form]:
        """The form of each entry of `state_dict`."""
        return {"head": self.head.form(), "begun": Is(bool)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` gave."""
        self.head.load_state_dict(state["head"])
        self.begun = state["begun"]


def check_early(
    at: str, engine: Engine, model: nn.Module | None, forward: Any, labels: Tensor | None
) -> tuple[nn.Module, Targets]:
    """The model and the targets of the head, or an error if scores cannot end at a layer."""
    policy = engine.policy
    if policy.proxy:
        raise ValueError(
            f"Scoring.at cannot be used with {policy.name}, which scores with forward.proxy. Use dynams, the "
            "same method without a proxy."
        )
    if "gradient_norm" in policy.reads:
        raise ValueError(
            f"Scoring.at cannot be used with {policy.name}, which needs gradients of the whole model. Leave "
            "out at."
        )
    if model is None:
        raise ValueError("Scoring.at needs Selector(model=...), got None.")
    names = [name for name, _ in model.named_modules() if name]
    if at not in names:
        raise ValueError(
            f"Scoring.at must name a module of the model, as model.named_modules() does, got {at!r}."
            f"{nearest(at, names)}"
        )
    return model, check_targets(labels, forward)


def _mask(data: Any) -> Tensor | None:
    """The attention mask of a batch, if it has one."""
    found: list[Tensor] = []

    def note(leaf: Any, path: str) -> Any:
        if path.endswith("['attention_mask']") and isinstance(leaf, Tensor):
            found.append(leaf)
        return leaf

    walk(data, note)
    return found[0] if found else None
