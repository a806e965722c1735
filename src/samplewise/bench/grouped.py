"""Methods whose budget is divided among the groups of the data: `samplewise train --groups`."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from samplewise.bench.altered import Data, drawn
from samplewise.bench.data import ImageData
from samplewise.bench.group_shares import CLASSES, plain, shares_of
from samplewise.bench.settings import Settings
from samplewise.bench.text.data import TextData
from samplewise.groups import Groups
from samplewise.policy import Policy

__all__ = ["about_groups", "divided", "groups_in", "refuse_undivided"]

_NAMED = 100
"""The most groups whose sizes `config.json` has."""


def divided(policies: Mapping[str, Any], data: ImageData | TextData, settings: Settings) -> dict[str, Any]:
    """The methods with their budgets divided among the groups of the data. `full` trains on everything.

    Args:
        policies: of each name, as `Settings.policies` makes them.
        data: that a run trains on.
        settings: with the column of the groups and their shares. Without groups, nothing changes.

    Raises:
        ValueError: if a method has no budget that can be divided, or the shares do not fit the groups.
    """
    if settings.groups is None:
        return dict(policies)
    groups = Groups(groups_in(data, settings), **shares_of(settings.shares))
    return {name: _divided(name, policy, groups, len(data)) for name, policy in policies.items()}


def _divided(name: str, policy: Any, groups: Groups, n: int) -> Any:
    if isinstance(policy, Policy) and policy.name == "full":
        return policy
    try:
        return groups.applied(policy, n, None)
    except ValueError as error:
        raise ValueError(f"--method {name:.200}: {plain(error)}") from None


def groups_in(data: ImageData | TextData, settings: Settings) -> np.ndarray:
    """The group of every training sample, (n,): int64 or text.

    Raises:
        ValueError: if the classes are to be the groups, and there are none.
    """
    if data.train_groups is not None:
        return data.train_groups
    if data.classes < 2:
        what = "are numbers" if not data.classes else "are in no column: give --label-column"
        raise ValueError(
            f"--groups {CLASSES} needs classes, but the labels of {data.name} {what}. Or name another column."
        )
    labels = data.train_y.numpy()
    return np.array(data.class_names)[labels] if data.class_names else labels


def refuse_undivided(data: Data, settings: Settings) -> None:
    """Raise if there are too many groups, or a method cannot be divided among the groups of any seed.

    Args:
        data: as they are read.
        settings: of the experiment.
    """
    if settings.groups is None:
        return
    count = len(np.unique(groups_in(data, settings)))
    if 2 * count > len(data):
        raise ValueError(
            f"--groups {settings.groups} must have at least 2 samples in a group on average, but it has "
            f"{count:,} groups of {len(data):,} samples. Name a column such as a domain or a source."
        )
    by_seed = bool(settings.imbalance) or settings.per_class is not None
    for seed in range(settings.seeds if by_seed else 1):
        divided(settings.policies(), drawn(data, settings, seed), settings)


def about_groups(data: Data, settings: Settings) -> dict[str, Any]:
    """What `config.json` holds of the groups; empty without groups.

    The sizes are of the samples that the first seed trains on. The digest is of the groups of all samples.
    """
    if settings.groups is None:
        return {}
    of = groups_in(data, settings)
    names, sizes = np.unique(groups_in(drawn(data, settings, 0), settings), return_counts=True)
    digest = hashlib.sha256("\0".join(map(str, of.tolist())).encode("utf-8", "surrogatepass"))
    shown = zip(map(str, names[:_NAMED].tolist()), sizes[:_NAMED].tolist(), strict=True)
    return {"groups": dict(shown), "groups_sha256": digest.hexdigest()}
