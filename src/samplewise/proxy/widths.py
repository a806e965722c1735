"""How many channels of a layer a width keeps, and the switch between the widths."""

import contextlib
from collections.abc import Iterator

import torch

__all__ = ["Switch", "channels", "fast_path"]


def channels(c: int, width: float, multiple: int = 1) -> int:
    """How many of `c` channels the narrow view keeps: int(c * width), by Yu et al. (arXiv:1812.08928).

    With `multiple` above 1: the nearest multiple of it that is at least 90 % of c * width, and c at the most.
    A width of 1 keeps all, also where `multiple` does not divide c.

    >>> channels(64, 0.3), channels(64, 0.3, multiple=8), channels(20, 1.0, multiple=8)
    (19, 24, 20)
    """
    if width == 1:
        return c
    wanted = c * width
    if multiple == 1:
        return int(wanted + 1e-9)  # 100 * 0.29 is 28.999999999999996
    near = int(wanted + multiple / 2) // multiple * multiple
    return min(c, near + multiple if near < 0.9 * wanted else near)


class Switch:
    """Says to the layers that hold it whether they run narrow."""

    def __init__(self) -> None:
        self.on = False

    @contextlib.contextmanager
    def narrow(self) -> Iterator[None]:
        """Run narrow inside; whatever happens there, the switch is put back."""
        before, self.on = self.on, True
        try:
            yield
        finally:
            self.on = before


@contextlib.contextmanager
def fast_path(off: bool) -> Iterator[None]:
    """Inside, torch's fused encoder layers, which read whole weights, are off if told so."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(before and not off)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
