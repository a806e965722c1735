"""Whether a saved state is whole and belongs here, asked before any of it is taken over."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

__all__ = ["refuse_damaged"]

_OWNER = ("policy", "n", "seed")


def refuse_damaged(state: Any, mine: Mapping[str, Any]) -> None:
    """Raise unless `state` is one that a selector whose own state is `mine` can continue from."""
    for name in _OWNER:
        if not isinstance(state, Mapping) or name not in state:
            raise ValueError(f"this is not a Selector's state: it has no {name!r}.")
        if state[name] != mine[name]:
            raise ValueError(
                f"the state is of {name}={state[name]}, but this Selector has {name}={mine[name]}."
            )
    for name in _missing(state, mine):
        raise ValueError(f"the state is damaged: it has no {name!r}.")
    engine = state["engine"]
    columns = {"times_selected": engine["times_selected"], "passed": engine["passed"], **engine["memory"]}
    for name, column in columns.items():
        if isinstance(column, Tensor) and column.ndim and len(column) != mine["n"]:
            raise ValueError(f"the state is damaged: {name} must have {mine['n']} rows, got {len(column)}.")


def _missing(state: Any, mine: Mapping[str, Any]) -> Iterator[str]:
    for name, value in mine.items():
        if not isinstance(state, Mapping) or name not in state:
            yield name
        elif isinstance(value, Mapping) and name not in ("memory", "method"):
            yield from _missing(state[name], value)
