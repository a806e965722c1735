"""`Recorder`: one training that feeds several static methods at once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

from samplewise.checks import nearest
from samplewise.coresets.parse import parse
from samplewise.policy import Policy, Source

__all__ = ["Recorder"]

_TAKEN = ("id", "label", "times_selected", "selected", "weight")
_SOURCES: dict[tuple[bool, bool], Source] = {
    (False, False): "none",
    (True, False): "training",
    (False, True): "pass",
    (True, True): "training+pass",
}


@dataclass(frozen=True, init=False, repr=False)
class Recorder(Policy):
    """A policy that trains on all samples and records what several static methods need.

    One training gives all their scores, with at most one pass before each epoch in which a method needs one.
    `selector.table()` has a column for each, and `selector.subset("tdds", keep=0.3)` gives its coreset.

    Args:
        methods: names or static policies; a mapping gives your own names, such as
            `{"tdds-30": sw.recipes.tdds(keep=0.3)}`.

    >>> Recorder(["el2n", "aum"]).needs
    ('loss', 'logits', 'targets')
    """

    def __init__(self, methods: Iterable[str | Policy] | Mapping[str, str | Policy]) -> None:
        if isinstance(methods, str | Policy) or not isinstance(methods, Iterable):
            raise TypeError(
                f"Recorder takes a list of static methods, got {methods!r}. Use Recorder(['el2n', 'aum'])."
            )
        named = methods.items() if isinstance(methods, Mapping) else [(None, method) for method in methods]
        records: dict[str, Policy] = {}
        for name, method in named:
            policy = parse(method) if isinstance(method, str) else method
            if not isinstance(policy, Policy) or policy.level != "static" or policy.name == "recorder":
                raise ValueError(f"Recorder takes static methods, got {method!r}. Train with it alone.")
            own = policy.name if name is None else name
            if own in records:
                raise ValueError(
                    f"Recorder has two methods named {own!r}. Give a mapping from your own names to methods."
                )
            if policy.fixed_subset is not None:
                raise ValueError(
                    "Recorder takes methods that score, got a fixed subset. Leave it out: it needs no scores."
                )
            if "/" in own or not own or own in _TAKEN:
                raise ValueError(
                    f"a name in a Recorder must not be empty, hold a '/' or be one of {', '.join(_TAKEN)}, "
                    f"got {own!r}."
                )
            records[own] = policy
        for own in records:
            head, _, tail = own.rpartition("_")
            if head in records and tail in records[head].column_names:
                raise ValueError(f"{own!r} is also the name of a column of {head!r}. Choose another name.")
        if not records:
            raise ValueError("Recorder needs at least one static method, got none. Use Recorder(['el2n']).")
        for field in fields(Policy):
            value = field.default_factory() if callable(field.default_factory) else field.default
            object.__setattr__(self, field.name, value)
        signals = [signal for policy in records.values() for signal in policy.signals]
        sources = {source for policy in records.values() for source in policy.source.split("+")}
        source = _SOURCES["training" in sources, "pass" in sources]
        own_fields: dict[str, Any] = {
            "signal": tuple(dict.fromkeys(signals)),
            "source": source,
            "final": "end",
            "name": "recorder",
            "params": MappingProxyType({"methods": MappingProxyType(records)}),
        }
        for name, value in own_fields.items():
            object.__setattr__(self, name, value)

    @property
    def records(self) -> Mapping[str, Policy]:
        """The policies by name."""
        found: Mapping[str, Policy] = self.params["methods"]
        return found

    @property
    def ranks(self) -> str | None:
        """None: each method has its own column."""
        return None

    @property
    def by_class(self) -> bool:
        """Whether one of them needs labels."""
        return any(policy.by_class for policy in self.records.values())

    def at(self, epoch: int, epochs: int) -> "Recorder":
        """Itself: static methods have no schedules."""
        return self

    def check(self, epochs: int) -> None:
        """Every method's own check."""
        for policy in self.records.values():
            policy.check(epochs)

    def find(self, name: str | None) -> str:
        """The name of one of its methods; an unknown one is an error."""
        if name is None:
            raise ValueError(
                f"method must be one of {', '.join(self.records)}, got None. Use subset('NAME')."
            )
        if name not in self.records:
            known = ", ".join(self.records)
            raise ValueError(f"{name!r} was not recorded.{nearest(name, self.records)} Recorded: {known}.")
        return name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recorder) and dict(other.records) == dict(self.records)

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return Recorder, (dict(self.records),)

    def __repr__(self) -> str:
        return f"Recorder({dict(self.records)!r})"
