"""What a policy needs of the Selector's other arguments, said before the first epoch."""

from typing import Any

from torch import Tensor, nn

from samplewise.data.dataset import length_of
from samplewise.loop.scoring import Scoring
from samplewise.policy import Policy
from samplewise.trackers import Last

__all__ = ["check_forward", "check_policy", "check_types", "refuse_proxy"]


def check_types(forward: Any, model: Any, scoring: Any, n: int) -> None:
    """Refuse arguments of the wrong kind, which would fail only when they are used."""
    if forward is not None and not callable(forward):
        raise TypeError(f"forward must be a function of a batch's data, got {type(forward).__name__}.")
    if model is not None and not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}.")
    if not isinstance(scoring, Scoring):
        raise TypeError(f"scoring must be a sw.Scoring(...), got {type(scoring).__name__}.")
    if scoring.dataset is not None and (found := length_of(scoring.dataset)) != n:
        raise ValueError(f"Scoring.dataset must hold the same {n} samples, got {found}.")


def check_policy(
    policy: Policy,
    n: int,
    dataset: Any,
    model: nn.Module | None,
    batch_size: int | None,
    labels: Tensor | None,
    scoring: Scoring,
) -> None:
    """Refuse a policy that lacks what it will need."""
    forgets = policy.tracker is None or (type(policy.tracker) is Last and scoring.every == 1)
    if not n and (not forgets or policy.picker is not None or policy.level == "static"):
        raise ValueError(f"{policy.name} remembers or plans every sample: it needs n, not None.")
    if policy.by_class and labels is None:
        raise ValueError(f"{policy.name} chooses by class: give Selector(labels=...), {n} numbers.")
    if dataset is not None and model is None and policy.scores:
        raise ValueError(
            f"{policy.name} scores with an extra forward in eval mode: give Selector(model=...)."
        )
    if batch_size == 1 and policy.batch_picker is not None:
        raise ValueError(f"batch_size=1 cannot keep 2 rows of a batch, which {policy.name} needs.")


def check_forward(policy: Policy, forward: Any, labels: Tensor | None) -> None:
    """Refuse a forward that cannot give what the policy needs, as far as it tells before it has run."""
    if forward is None:
        return
    if policy.proxy and not callable(getattr(forward, "proxy", None)):
        raise ValueError(
            f"{policy.name} trains a narrow view of the model along, and scores with it: its forward needs a "
            "`proxy`, as sw.classifier(model, head=..., proxy=sw.proxy.slim(model, ...)) has."
        )
    classes = getattr(forward, "classes", None)
    if "head" in policy.needs and classes is not None and labels is not None and int(labels.max()) >= classes:
        raise ValueError(
            f"labels go up to {int(labels.max())}, but the head of forward has {classes} classes, "
            f"0 to {classes - 1}."
        )


def refuse_proxy(policy: Policy, what: str) -> None:
    """Raise if the policy trains a proxy along, for what gives the selector losses instead of batches."""
    if policy.proxy:
        raise ValueError(
            f"{policy.name} does not go with {what}: it trains forward.proxy along, which only "
            "selector.loss(batch) does. dynams is the same method without a proxy."
        )
