"""Checks before training: what a policy needs, and where it cannot be used."""

from collections.abc import Callable
from types import FunctionType
from typing import Any

from torch import Tensor, nn

from samplewise.cost.ledger import Ledger
from samplewise.data.dataset import length_of
from samplewise.distributed import collectives
from samplewise.engine.engine import Engine
from samplewise.loop.scoring import Scoring
from samplewise.loop.tokens import forward_of
from samplewise.policy import Policy
from samplewise.tokens.reference import Reference
from samplewise.trackers import Last

__all__ = [
    "charge_prior",
    "check_forward",
    "check_loader",
    "check_policy",
    "check_types",
    "refuse_assembled",
    "refuse_copy",
    "refuse_proxy",
    "refuse_scorer",
    "refuse_several",
    "why_ungated",
]


def check_types(forward: Any, model: Any, scoring: Any, n: int) -> None:
    """Raise for arguments of a wrong type, which would fail only later, when they are used."""
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
    forward: Any,
) -> None:
    """Raise if something is missing that the policy will need."""
    if dataset is None:
        refuse_assembled(policy, "the engine alone, Selector(policy, n)")
    forgets = policy.tracker is None or (type(policy.tracker) is Last and scoring.every == 1)
    if not n and (not forgets or policy.picker is not None or policy.level == "static"):
        raise ValueError(
            f"dataset must be a data set or its number of samples, got None: {policy.name} remembers or "
            "plans every sample."
        )
    if policy.by_class and labels is None:
        raise ValueError(
            f"labels must be {n} class numbers, got None: {policy.name} chooses by class. Give "
            "Selector(labels=...)."
        )
    if dataset is not None and model is None and policy.scores:
        raise ValueError(
            f"model must be a torch.nn.Module, got None: {policy.name} scores with an extra forward in eval "
            "mode. Give Selector(model=...)."
        )
    if batch_size == 1 and policy.batch_picker is not None:
        raise ValueError(
            f"batch_size must be at least 2, got 1: {policy.name} keeps at least 2 rows of every batch. "
            "Use a larger batch and less accumulation: batch_size of Selector, or "
            "per_device_train_batch_size of a Trainer."
        )
    check_forward(policy, forward, labels)


def check_loader(policy: Policy, dataset: Any, batch_size: int | None) -> None:
    """Raise if there can be no loader."""
    if dataset is None:
        raise ValueError("this Selector was built without a data set. Give Selector(policy, dataset).")
    if batch_size is None:
        raise ValueError("the loader needs a batch size, got None. Give Selector(batch_size=...).")
    refuse_several(policy)


def check_forward(policy: Policy, forward: Any, labels: Tensor | None) -> None:
    """Raise if forward cannot give what the policy needs, as far as this is known before it runs."""
    if forward is None:
        return
    classes = getattr(forward, "classes", None)
    if policy.token_choice is not None and classes is not None and not getattr(forward, "by_tokens", False):
        raise ValueError(
            f"{policy.name} chooses tokens, so forward must give a loss for every token, but this one is "
            "of a classifier. Use a language model, or a method of level batch."
        )
    if policy.token_choice is not None and isinstance(policy.token_choice.reference, Reference):
        forward_of(policy.token_choice.reference, forward)
    if policy.proxy and not callable(getattr(forward, "proxy", None)):
        raise ValueError(
            f"{policy.name} also trains a narrow view of the model, and scores with it. Its forward needs a "
            "`proxy`: sw.classifier(model, head=..., proxy=sw.proxy.slim(model, ...)) has one."
        )
    if "head" in policy.needs and classes is not None and labels is not None and int(labels.max()) >= classes:
        raise ValueError(
            f"labels must be in [0, {classes}), the classes of the head of forward, got {int(labels.max())}. "
            "Give a head with more outputs, or correct the labels."
        )


def refuse_proxy(policy: Policy, what: str) -> None:
    """Raise if the policy also trains a proxy, for loops that give the selector losses instead of batches."""
    if policy.proxy:
        raise ValueError(
            f"{policy.name} cannot be used with {what}. It also trains forward.proxy, which only "
            "selector.loss(batch) does. Use dynams, the same method without a proxy."
        )


def refuse_scorer(scoring: Scoring, what: str) -> None:
    """Raise if another model scores, which `what` gives no data to score."""
    if scoring.scorer is not None:
        raise ValueError(
            f"Scoring.scorer cannot be used with {what}, which gets losses and no data. Call "
            "selector.loss(batch) or selector.narrow(batch), or leave out the scorer and observe the losses "
            "of the small model yourself."
        )


def refuse_assembled(policy: Policy, what: str) -> None:
    """Raise if the policy fills its batches itself, which `what` would disturb."""
    if policy.assemble:
        raise ValueError(
            f"{policy.name}(assemble=True) cannot be used with {what}. It fills its batches itself, in the "
            "loop `for batch in selector.loader(): loss = selector.loss(batch)` of one process. Leave out "
            "assemble."
        )


def refuse_several(policy: Policy) -> None:
    """Raise if several processes would get different numbers of batches."""
    if (world := collectives.world()) > 1:
        refuse_assembled(policy, f"{world} processes, which need equal numbers of batches")


def charge_prior(policy: Policy, n: int, fingerprint: Callable[[], str | None], ledger: Ledger) -> None:
    """Check that a given subset or table belongs to these data, and charge what it cost to compute.

    Args:
        policy: whose picker or tracker may hold a subset or losses from an earlier run.
        n: number of samples.
        fingerprint: gives that of the data set; it is called only if needed.
        ledger: is charged.
    """
    for part in (policy.picker, policy.tracker, policy.batch_tracker, policy.token_choice):
        if part is not None:
            part.check_fits(n, fingerprint)
            if scoring := part.provenance.get("scoring"):
                world = collectives.world()
                flops = scoring.get("flops", 0) / world
                ledger.scored(scoring["cost"] / world, scoring["seconds"], flops)


def refuse_copy(forward: Any, model: nn.Module | None, memo: dict[int, Any]) -> None:
    """Refuse a deep copy of a model whose forward is a function: the function runs the original model.

    Args:
        forward: of the Selector that is copied.
        model: of the Selector that is copied.
        memo: of `copy.deepcopy`. The model and its parameters are entered: the copy keeps them.
    """
    if model is None or not isinstance(forward, FunctionType):
        return
    parts = [model, *model.parameters()]  # an optimizer may have copied the parameters only
    if any(memo.setdefault(id(part), part) is not part for part in parts):
        raise TypeError(
            "this Selector cannot be copied together with its model: its forward is a function, which "
            "continues to run the original model. Give a forward that holds the model, as "
            "sw.classifier(model) does, or load state_dict() into a Selector of the copied model."
        )


def why_ungated(engine: Engine) -> str | None:
    """Why a gate has nothing to do for a method; None if it has."""
    policy = engine.policy
    if policy.level == "static":
        return "trains on one coreset, chosen before"
    if policy.proxy:
        return "trains its proxy in every step, so no plain step can be timed"
    if engine.memory.sources or engine.memory.counts_rows:
        return None
    return "never scores, so its choices cost next to nothing"
