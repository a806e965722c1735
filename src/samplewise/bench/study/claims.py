"""`Claim`: a sentence of a paper that one method is better than others, as a study file names it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from samplewise.bench.study.jobs import FULL, STOPPED, canonical
from samplewise.checks import nearest

__all__ = ["Claim", "of_study", "read_claims"]

_FIELDS = ("says", "better", "than", "source")


@dataclass(frozen=True)
class Claim:
    """A claim that a method is better than others.

    Args:
        says: the claim, in a sentence.
        better: the method that is said to be better: a method or a control of the study, `full`, or
            `full, stopped early`.
        than: one or more such methods. The claim holds if `better` is better than each of them.
        source: where it is said, such as `arXiv:2509.23461, Table 6`.
    """

    says: str
    better: str
    than: tuple[str, ...]
    source: str = ""

    def renamed(self, rename: Callable[[str], str]) -> "Claim":
        """The same claim with other texts for its methods.

        Raises:
            ValueError: if `rename` does; the text names the claim.
        """
        try:
            return replace(self, better=rename(self.better), than=tuple(map(rename, self.than)))
        except ValueError as error:
            raise ValueError(f"claim {self.says!r}: {error}") from None


def read_claims(items: Any) -> tuple[Claim, ...]:
    """Claims from tables [[claims]] of a study file. A `Claim` stays as it is.

    Raises:
        ValueError: if an item is no such table.
    """
    if not isinstance(items, list | tuple):
        raise ValueError(f"claims must be a list of tables, got {items!r:.80}. Write [[claims]].")
    found = []
    for item in items:
        if isinstance(item, Claim):
            found.append(item)
            continue
        if not isinstance(item, Mapping):
            raise ValueError(
                f"claims must be tables with says, better and than, got {item!r:.80}. Write [[claims]] and "
                "the keys below it."
            )
        for key in item:
            if key not in _FIELDS:
                raise ValueError(f"a claim has an unknown key {key!r}.{nearest(str(key), _FIELDS)}")
        if missing := [key for key in _FIELDS[:3] if key not in item]:
            raise ValueError(f"a claim must have says, better and than, got no {missing[0]}: {item!r:.200}.")
        found.append(_made(**item))
    return tuple(found)


def _made(says: Any, better: Any, than: Any, source: Any = "") -> Claim:
    """A claim of the values of a table."""
    for name, value in (("says", says), ("better", better), ("source", source)):
        if not isinstance(value, str) or (not value.strip() and name != "source"):
            raise ValueError(f"{name} of a claim must be text, got {value!r:.80}.")
    others = (than,) if isinstance(than, str) else than
    if not isinstance(others, list | tuple) or not others or not all(isinstance(n, str) for n in others):
        raise ValueError(f"claim {says!r}: than must be a method or a list of methods, got {than!r:.80}.")
    return Claim(says, better, tuple(others), source)


def of_study(claims: Sequence[Claim], methods: Sequence[str], controls: Sequence[str]) -> tuple[Claim, ...]:
    """The claims of a study, with their methods in the writing of the study.

    Args:
        claims: their methods may be in another writing.
        methods: of the study.
        controls: of the study.

    Raises:
        ValueError: if a claim names a method that the study does not run, compares a method with itself, or
            makes a comparison a second time.
    """
    known = {str(canonical(name)): name for name in (*methods, *controls, FULL)}

    def find(name: str) -> str:
        if name == STOPPED:
            return name
        found = known.get(str(canonical(name)))
        if found is None:
            choices = (*known.values(), STOPPED)
            raise ValueError(
                f"{name} must be a method or a control of the study, {FULL}, or {STOPPED!r}."
                f"{nearest(name, choices)} Add it to methods, or leave out the claim."
            )
        return found

    read = tuple(claim.renamed(find) for claim in claims)
    seen: dict[tuple[str, str], str] = {}
    for claim in read:
        for than in claim.than:
            pair = claim.better, than
            if claim.better == than:
                raise ValueError(f"claim {claim.says!r}: must compare two methods, got {than} twice.")
            if pair in seen:
                raise ValueError(
                    f"claims must make each comparison once, got {claim.better} and {than} in "
                    f"{seen[pair]!r} and {claim.says!r}."
                )
            seen[pair] = claim.says
    return read
