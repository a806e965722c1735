"""Global random states lent to code that may draw from them, and put back as found only if it did."""

import random
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Drawing", "HostLent", "Lent", "drawing_of", "kept"]

_PATIENCE = 64
"""Windows in which others drew, after which it is looked again whether this code draws by now, at most."""


@dataclass
class Drawing:
    """Where some code draws random numbers, as far as is known; the places are device types."""

    places: set[str] | None = None
    others: int = 0
    """Windows in which the state moved although this code does not draw, as far as is known."""
    patience: int = 1
    """How many of them there may be until it is looked again; twice as many after each look."""


_of_models: "WeakKeyDictionary[nn.Module, dict[str, Drawing]]" = WeakKeyDictionary()


def drawing_of(model: nn.Module, what: str) -> Drawing:
    """Where a model's forward draws, by what it is run for: in train mode dropout draws, in eval mode not."""
    known = _of_models.get(model)
    if known is None:
        known = _of_models[model] = {}
    if what not in known:
        known[what] = Drawing()
    return known[what]


class Lent:
    """torch's random states, lent in windows to code that must not move them.

    A state that moved was drawn from by this code, or by another thread of the process, which must not see
    its numbers again. While no other thread lives it was this code. Else the operations of one window are
    watched, which other threads' are not among, and the finding is remembered. Later windows go on where
    the one before ended, so that a pass draws one sequence.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._backend = None if device.type in ("cpu", "meta") else torch.get_device_module(device)
        self._own: dict[str, Tensor] = {}

    @contextmanager
    def window(self, drawing: Drawing) -> Iterator[None]:
        """Lend the states, and put back what was drawn from."""
        found = self._states()
        self._set(self._own)
        begun = found | self._own if self._own else found
        alone = threading.active_count() == 1
        unknown = drawing.places is None or drawing.others >= drawing.patience
        watch = _Watch() if unknown and not alone else None
        try:
            if watch is None:
                yield
            else:
                with watch:
                    yield
        finally:
            ended = self._states()
            moved = {place for place, state in ended.items() if not torch.equal(state, begun[place])}
            self._judge(drawing, watch, alone, moved)
            self._own |= {place: ended[place] for place in moved & (drawing.places or set())}
            if self._own:
                self._set({place: found[place] for place in self._own})

    def _judge(self, drawing: Drawing, watch: "_Watch | None", alone: bool, moved: set[str]) -> None:
        """Note in which places this code draws, as far as this window tells."""
        if watch is not None:
            if drawing.places is not None:
                drawing.patience = min(2 * drawing.patience, _PATIENCE)
            drawing.places, drawing.others = watch.places, 0
        elif alone and moved:
            drawing.places = moved | (drawing.places or set())
        if moved - (drawing.places or set()):
            drawing.others += 1

    def _states(self) -> dict[str, Tensor]:
        states = {"cpu": torch.get_rng_state()}
        if self._backend is not None:
            states[self._device.type] = self._backend.get_rng_state(self._device)
        return states

    def _set(self, states: Mapping[str, Tensor]) -> None:
        for place, state in states.items():
            if place == "cpu":
                torch.set_rng_state(state)
            elif self._backend is not None:
                self._backend.set_rng_state(state, self._device)


class _Watch(TorchDispatchMode):
    """Notes on which devices this thread draws from torch's global generators."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not annotate it
        self.places: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        draws = torch.Tag.nondeterministic_seeded in getattr(func, "tags", ())
        if draws and (kwargs or {}).get("generator") is None:
            outs = made if isinstance(made, list | tuple) else (made,)
            self.places |= {out.device.type for out in outs if isinstance(out, Tensor)}
        return made


@dataclass
class HostLent:
    """numpy's and Python's global random states, lent likewise; who drew cannot be told from there."""

    _own: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def window(self) -> Iterator[None]:
        """Lend the states, and put back those that moved."""
        found = _host_states()
        _set_host(self._own)
        begun = found | self._own
        try:
            yield
        finally:
            ended = _host_states()
            self._own |= {name: state for name, state in ended.items() if not _same(state, begun[name])}
            _set_host({name: found[name] for name in self._own})


@contextmanager
def kept() -> Iterator[None]:
    """Every global random state of the CPU as found, for code that reads samples."""
    with HostLent().window(), Lent(torch.device("cpu")).window(Drawing()):
        yield


def _host_states() -> dict[str, Any]:
    return {"numpy": np.random.get_state(), "python": random.getstate()}  # noqa: NPY002 - saved, not drawn from


def _same(one: Any, other: Any) -> bool:
    return all(
        np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b for a, b in zip(one, other, strict=True)
    )


def _set_host(states: Mapping[str, Any]) -> None:
    if "numpy" in states:
        np.random.set_state(states["numpy"])  # noqa: NPY002
    if "python" in states:
        random.setstate(states["python"])
