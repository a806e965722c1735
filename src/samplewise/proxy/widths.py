"""The number of channels that a width keeps, and the switch between full and narrow."""

import contextlib
from collections.abc import Iterator

import torch

__all__ = ["Switch", "channels", "fast_path"]


def channels(c: int, width: float, multiple: int = 1) -> int:
    """Return the number of `c` channels that the narrow view keeps: int(c * width) (arXiv:1812.08928).

    With `multiple` above 1, it is the nearest multiple that is at least 90 % of c * width, and at most c.
    A width of 1 keeps all channels, even if c is not a multiple.

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
    """A flag shared by the slimmed layers: True while they run narrow."""

    def __init__(self) -> None:
        self.on = False

    @contextlib.contextmanager
    def narrow(self) -> Iterator[None]:
        """Set the flag inside the block. It is restored at the end, also after an error."""
        before, self.on = self.on, True
        try:
            yield
        finally:
            self.on = before


@contextlib.contextmanager
def fast_path(off: bool) -> Iterator[None]:
    """If `off`, disable torch's fused encoder layers inside the block: these always use whole weights."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(before and not off)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
