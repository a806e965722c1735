"""`Groups`: the group of every sample, such as its domain or source, and the share that each group gets."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from samplewise import recipes, signals, trackers
from samplewise.checks import Range, checked, nearest
from samplewise.pickers import Budgeted
from samplewise.pickers.per_group import Membership, Mixing, PerGroup
from samplewise.policy import Policy

__all__ = ["Groups", "as_groups", "method_of"]


@checked
@dataclass(frozen=True, eq=False)
class Groups:
    """Which group each sample is in, and how a method's budget is divided among the groups.

    A method with an exact budget keeps as many samples as without groups. They are divided by largest
    remainder, and the method chooses inside each group. A group that is too small for its share is kept
    whole, and what is left is divided among the others. A method of level `epoch`, `epoch+batch` or `static`
    divides the samples of a plan, one of level `batch` the rows that it keeps of a batch.

    - A mapping gives fixed shares, in proportion to its numbers.
    - `"sizes"`: in proportion to the number of samples.
    - `"temperature"`: share ~ size * exp(loss / temperature), with the mean of the group's last losses. A
      low temperature goes to the group with the highest loss, a high one to the sizes.
    - `"online"`: exponential weights, w <- w * exp(rate * loss) before every choice, from w = size. The
      share is (1 - explore) * w + explore * size, all with sum 1. This is the update of online data mixing
      (arXiv:2312.02406), which takes the loss of a group as its reward, with every group observed.

    The shares of every choice are in `ledger.selections`. Memory: 4 bytes a sample for the groups.

    Args:
        of: the group of every sample, (n,): names or whole numbers; or the name of a column of a Hugging Face
            data set.
        shares: a number for each group, or one of the words above.
        temperature: in units of the loss.
        rate: in units of 1 / loss.
        explore: the part of the budget that stays with the sizes.

    Raises:
        ValueError: for shares that name other groups than `of`, or numbers that are not above 0.
    """

    of: Any
    shares: Mapping[Any, float] | Literal["sizes", "temperature", "online"] = "sizes"
    temperature: Annotated[float, Range(0, open_low=True)] = 1.0
    rate: Annotated[float, Range(0, open_low=True)] = 1.0
    explore: Annotated[float, Range(0, 1)] = 0.1

    def read(self, dataset: Any) -> "Groups":
        """The same groups with the values of the column, if they are given by its name.

        Raises:
            ValueError: if the data set has no such column.
        """
        if not isinstance(self.of, str):
            return self
        columns = getattr(dataset, "column_names", None)
        if not isinstance(columns, list) or self.of not in columns:
            has = f" Columns: {', '.join(map(str, columns))}." if isinstance(columns, list) else ""
            raise ValueError(
                f"Groups.of must be a group for each sample or a column of the data set, got {self.of!r}."
                f"{has}"
            )
        return replace(self, of=list(dataset.with_format(None)[self.of]))

    def applied(self, policy: Any, n: int, dataset: Any) -> Policy:
        """The policy with its budget divided among the groups.

        Args:
            policy: a `Policy`, not a method object of one's own.
            n: how many samples there are.
            dataset: where a column is looked up.

        Raises:
            ValueError: if `of` does not fit to the data, or the method has no exact budget or no losses.
        """
        if not isinstance(policy, Policy):
            raise ValueError(
                f"groups need a Policy, got {policy!r:.100}. A method object divides its choice itself."
            )
        if not n:
            raise ValueError("groups need a data set with a length, got a stream. Mix the streams instead.")
        members = membership(self.read(dataset).of, n)
        mixing = self._mixing(members)
        inside = policy.level == "batch"
        picker = self._divisible(policy, inside)
        self._refuse_silent(policy, mixing, inside)
        if mixing.follows_losses and not policy.signals:
            policy = replace(policy, signal=signals.loss, tracker=trackers.Last(), source="training")
        grouped = PerGroup(picker, members, mixing)
        params = {**policy.params, "groups": f"{members!r}, {mixing!r}, {digest(members)}"}
        changed: dict[str, Any] = {"batch_picker" if inside else "picker": grouped}
        made: Policy = replace(policy, params=MappingProxyType(params), **changed)
        return made

    def _mixing(self, members: Membership) -> Mixing:
        if isinstance(self.shares, str):
            return Mixing(self.shares, (), self.temperature, self.rate, self.explore)
        given = {str(name): share for name, share in self.shares.items()}
        for name in given:
            if name not in members.names:
                has = ", ".join(members.names[:20])
                raise ValueError(
                    f"Groups.shares names {name!r}, which no sample is in.{nearest(name, members.names)} "
                    f"Groups: {has}."
                )
        if missing := [name for name in members.names if name not in given]:
            raise ValueError(
                f"Groups.shares must have a number for each group, and has none for {', '.join(missing[:5])}."
                " Leave the samples of a group that must not train out of the data set."
            )
        for name, share in given.items():
            if isinstance(share, bool) or not (isinstance(share, int | float) and 0 < share < float("inf")):
                raise ValueError(
                    f"Groups.shares[{name!r}] must be a number above 0, got {share!r}. Leave the samples of "
                    "a group that must not train out of the data set."
                )
        total = sum(given.values())
        return Mixing("fixed", tuple(given[name] / total for name in members.names))

    def _divisible(self, policy: Policy, inside: bool) -> Budgeted:
        """The picker whose budget is divided. Raises for a method whose choice cannot be divided."""
        if policy.level == "token":
            raise ValueError(
                f"groups cannot divide {policy.name} of level token: it trains every sample and chooses "
                "tokens. Use a method that chooses samples, such as random_dynamic or loss_sampling."
            )
        picker = policy.batch_picker if inside else policy.picker
        if not isinstance(picker, Budgeted) or picker.everything:
            raise ValueError(
                f"groups need a method that keeps an exact share below 1, got {policy.name}. Use one such as "
                "random_dynamic, uncertainty or loss_sampling, with keep=...."
            )
        if picker.own_weights:
            raise ValueError(
                f"groups cannot divide {policy.name}, whose weights are for a choice from all samples. Use a "
                "method without weights of its own, such as random_dynamic or uncertainty."
            )
        if picker.nested:
            raise ValueError(
                f"groups cannot divide {policy.name}, which chooses among its last choice only. Use "
                "uncertainty or dyna_random."
            )
        return picker

    def _refuse_silent(self, policy: Policy, mixing: Mixing, inside: bool) -> None:
        """Raise if the shares follow losses, and the method cannot give them."""
        if not mixing.follows_losses:
            return
        if policy.level == "static" or (inside and self.shares == "online"):
            raise ValueError(
                f"Groups.shares must be numbers or 'sizes'{' or temperature' if inside else ''} for "
                f"{policy.name} of level {policy.level}, got {self.shares!r}. A method of level epoch, such "
                "as random_dynamic, can follow the losses."
            )
        seen, tracker = policy.read_by("batch_picker" if inside else "picker")
        keeps = signals.loss in seen and isinstance(tracker, trackers.Last)
        if not keeps and (seen or inside):
            raise ValueError(
                f"Groups.shares={self.shares!r} needs a method that keeps the losses, got {policy.name}. Use "
                "one such as random_dynamic, uncertainty or loss_sampling, or give fixed shares."
            )


def membership(of: Any, n: int) -> Membership:
    """The group of each of n samples.

    Raises:
        ValueError: for another number of samples, or groups that are neither names nor whole numbers.
    """
    values = of.numpy(force=True) if isinstance(of, Tensor) else of
    if len(values) != n:
        raise ValueError(f"Groups.of must have a group for each of the {n} samples, got {len(values)}.")
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "iu":
        numbers, codes = np.unique(values, return_inverse=True)
        return Membership(tuple(map(str, numbers.tolist())), torch.from_numpy(codes.astype(np.int32)))
    for value in values:
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ValueError(f"Groups.of must hold names or whole numbers, got {value!r}.")
    kinds = sorted(set(values), key=lambda value: (isinstance(value, str), value))
    names = [str(kind) for kind in kinds]
    if len(set(names)) < len(names):
        raise ValueError("Groups.of must hold names or whole numbers, got both for one group.")
    number = {kind: i for i, kind in enumerate(kinds)}
    codes = np.fromiter((number[value] for value in values), np.int32, n)
    return Membership(names, torch.from_numpy(codes))


def digest(members: Membership) -> str:
    """A short text that differs for other groups, for states and files."""
    found = hashlib.sha256("\0".join(members.names).encode() + members.codes.numpy().tobytes())
    return found.hexdigest()[:12]


def method_of(policy: Any, groups: Any, n: int, dataset: Any) -> Any:
    """The method that a Selector runs.

    Args:
        policy: the name of a recipe, a `Policy`, or a method object.
        groups: `Groups`, or what they take as `of`: then shares are in proportion to the sizes. None: none.
        n: how many samples there are.
        dataset: where a column is looked up.
    """
    policy = recipes.get(policy)() if isinstance(policy, str) else policy
    found = as_groups(groups)
    return policy if found is None else found.applied(policy, n, dataset)


def as_groups(given: Any) -> Groups | None:
    """`Groups`, of what `Selector(groups=...)` takes; None without groups."""
    return given if given is None or isinstance(given, Groups) else Groups(given)
