"""Running code that may draw random numbers, and restoring the global random states that it moved."""

import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Drawing", "HostLent", "Lent", "drawing_of", "kept", "lent_to", "quietly"]

T = TypeVar("T")

_PATIENCE = 64
"""Upper bound of `Drawing.patience`."""


@dataclass
class Drawing:
    """On which device types some code draws random numbers, as far as known."""

    places: set[str] | None = None
    """Device types; None before the first observation."""
    others: int = 0
    """Number of windows in which a state moved on a device type that is not in `places`."""
    patience: int = 1
    """When `others` reaches this number, the code is watched again. It doubles after each watch."""


_of_models: "WeakKeyDictionary[nn.Module, dict[str, Drawing]]" = WeakKeyDictionary()


def drawing_of(model: nn.Module, what: str) -> Drawing:
    """The `Drawing` of a model's forward for a purpose. Train mode (dropout draws) and eval mode differ."""
    known = _of_models.get(model)
    if known is None:
        known = _of_models[model] = {}
    if what not in known:
        known[what] = Drawing()
    return known[what]


class Lent:
    """Keeps torch's global random states unchanged by code that runs in its windows.

    If a state moved, either this code or another thread drew from it. A draw by another thread must not be
    undone: that thread would get the same numbers again. If the process has one thread, this code drew.
    Otherwise a dispatch mode watches the operations of one window, which are this thread's only, and the
    result is stored in a `Drawing`. A window starts from the state at the end of the window before, so all
    windows of a pass draw one random sequence.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._backend = None if device.type in ("cpu", "meta") else torch.get_device_module(device)
        self._own: dict[str, Tensor] = {}

    @contextmanager
    def window(self, drawing: Drawing) -> Iterator[None]:
        """Run the code of a `with` block, then restore the states that it drew from."""
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
            self._update(drawing, watch, alone, moved)
            self._own |= {place: ended[place] for place in moved & (drawing.places or set())}
            if self._own:
                self._set({place: found[place] for place in self._own})

    def _update(self, drawing: Drawing, watch: "_Watch | None", alone: bool, moved: set[str]) -> None:
        """Update `drawing` with what this window showed."""
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


@contextmanager
def lent_to(model: nn.Module, what: str, device: torch.device) -> Iterator[None]:
    """Run one forward of a model in the block, then restore the random states that it drew from.

    Args:
        model: a model on `device`.
        what: the purpose of the forward, as in `drawing_of`.
        device: the device of the model.
    """
    with Lent(device).window(drawing_of(model, what)):
        yield


class _Watch(TorchDispatchMode):
    """Records the device types on which this thread draws from torch's global generators."""

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
    """The same for the global random states of numpy and Python. Every state that moved is restored.

    numpy and Python do not show which thread drew.
    """

    _own: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def window(self) -> Iterator[None]:
        """Run the code of a `with` block, then restore the states that moved."""
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
    """Run code that reads samples, then restore every global random state of the CPU."""
    with HostLent().window(), Lent(torch.device("cpu")).window(Drawing()):
        yield


def quietly(read: Callable[..., T], *arguments: Any) -> T:
    """Call a function that reads samples, then restore every global random state. Return its result."""
    with kept():
        return read(*arguments)


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
