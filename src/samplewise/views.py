"""Views: cheaper forms of a batch, for `Scoring(view=...)`. Scores see them; training sees all of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from torch import Tensor
from torch.nn import functional as F

from samplewise import packed
from samplewise.checks import Range, checked
from samplewise.data.outputs import walk

__all__ = ["First", "first", "half"]


def half(data: Any) -> Any:
    """Images at half resolution: each pixel is the mean of 2 x 2. The other parts of the batch stay.

    An image batch is a floating-point tensor (b, channels, height, width). The network must take images of
    this size: most convolutional ones do, a vision transformer with fixed positions does not. Cost: a quarter
    for convolutions.

    Raises:
        ValueError: if the batch holds no such tensor, or images of less than 2 x 2 pixels.

    >>> import torch
    >>> images, targets = half((torch.arange(16.0).reshape(1, 1, 4, 4), torch.tensor([3])))
    >>> images.tolist(), targets
    ([[[[2.5, 4.5], [10.5, 12.5]]]], tensor([3]))
    """
    found = 0

    def smaller(leaf: Any, path: str) -> Any:
        nonlocal found
        if not (isinstance(leaf, Tensor) and leaf.ndim == 4 and leaf.is_floating_point()):
            return leaf
        found += 1
        if min(leaf.shape[2:]) < 2:
            raise ValueError(
                f"views.half needs images of at least 2 x 2 pixels, got shape {tuple(leaf.shape)}."
            )
        return F.avg_pool2d(leaf, 2)

    seen = walk(data, smaller)
    if not found:
        raise ValueError(
            "views.half found no images: no floating-point tensor (b, channels, height, width) in the batch. "
            "Give Scoring(view=...) a function of your own."
        )
    return seen


@checked
@dataclass(frozen=True)
class First:
    """The first `tokens` tokens of each text: see `first`."""

    tokens: Annotated[int, Range(1)]

    def __call__(self, data: Any) -> Any:
        found = 0

        def cut(value: Any, path: str) -> Any:
            nonlocal found
            if not _is_text(value, path):
                return value
            found += 1
            if packed.shares_rows(value):
                return packed.take(value, None, first=self.tokens)
            size = value["input_ids"].shape[:2]
            return walk(
                value,
                lambda leaf, _: (
                    leaf[:, : self.tokens] if isinstance(leaf, Tensor) and leaf.shape[:2] == size else leaf
                ),
            )

        seen = walk(data, cut, stop=_is_text)
        if not found:
            raise ValueError(
                "views.first found no text: no mapping with 'input_ids' of shape (b, tokens) in the batch. "
                "Give Scoring(view=...) a function of your own."
            )
        return seen


def first(tokens: int) -> First:
    """A view of the first `tokens` tokens of each text.

    It cuts every tensor of a mapping that has the shape of its `input_ids` (b, tokens): attention mask, token
    types, and labels with one number for each token. The tokens must be padded on the right. In packed rows
    with `labels` it cuts each sequence, and packs them again (see `samplewise.packed`).

    >>> import torch
    >>> batch = {"input_ids": torch.arange(8).reshape(2, 4), "labels": torch.tensor([0, 1])}
    >>> first(2)(batch)
    {'input_ids': tensor([[0, 1],
            [4, 5]]), 'labels': tensor([0, 1])}
    """
    return First(tokens)


def _is_text(value: Any, path: str) -> bool:
    if not isinstance(value, Mapping) or "input_ids" not in value:
        return False
    ids = value["input_ids"]
    return isinstance(ids, Tensor) and ids.ndim == 2
