"""Labelled images in memory: the one form that every `--data` source is turned into."""

from bisect import bisect_left
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from samplewise import rng
from samplewise.bench import readers


@dataclass(frozen=True)
class ImageData:
    """A training and a test split: images (n, channels, side, side), labels 0..classes-1.

    Images are uint8, or float32 where the file held floats. `mean` and `std` are the training
    images' own, per channel, in the unit of the stored pixels.
    """

    name: str
    classes: int
    train_x: Num[Tensor, "n ch side side"]
    train_y: Int[Tensor, " n"]
    test_x: Num[Tensor, "t ch side side"]
    test_y: Int[Tensor, " t"]
    mean: Float[Tensor, " ch"]
    std: Float[Tensor, " ch"]

    def __len__(self) -> int:
        return len(self.train_y)

    @property
    def channels(self) -> int:
        return self.train_x.shape[1]

    @property
    def side(self) -> int:
        return self.train_x.shape[2]

    def relabelled(self, train_y: Int[Tensor, " n"]) -> "ImageData":
        """The same images with other training labels."""
        return replace(self, train_y=train_y)


def load(source: str) -> ImageData:
    """Read `digits`, a .npz file, a folder of Parquet files or `hf:NAME`.

    Anything that cannot be trained on is refused here, naming the file and the reason.
    """
    splits = readers.read(source)
    images, labels = {}, {}
    for split in ("train", "test"):
        x, y = splits[split]
        images[split] = _images(x, f"{source}: {split} images")
        labels[split] = _labels(y, f"{source}: {split} labels")
        if len(images[split]) != len(labels[split]):
            raise ValueError(f"{source}: {len(images[split])} {split} images but {len(labels[split])} labels")
    _same_form(source, images["train"], images["test"])
    classes = _class_count(source, labels["train"], labels["test"])
    mean, std = _moments(images["train"])
    return ImageData(
        name_of(source),
        classes,
        images["train"],
        labels["train"],
        images["test"],
        labels["test"],
        mean,
        std,
    )


def name_of(source: str) -> str:
    """A short name for run folders: `data/fmnist.npz` is `fmnist`, `hf:user/set` is `set`."""
    return Path(source.removeprefix("hf:")).stem or "data"


def limited(data: ImageData, limit: int) -> ImageData:
    """The same `limit` training images in every run, the classes as even as they can be.

    The test split stays whole.
    """
    if not data.classes <= limit <= len(data):
        raise ValueError(
            f"limit must be in [{data.classes}, {len(data)}] for {data.name} "
            f"({data.classes} classes, {len(data)} training images), got {limit}"
        )
    counts = torch.bincount(data.train_y, minlength=data.classes)
    # Raising one water level over all classes: small classes give all they have.
    level = bisect_left(range(limit + 1), limit, key=lambda v: int(counts.clamp(max=v).sum()))
    budget = counts.clamp(max=level)
    surplus = int(budget.sum()) - limit
    budget[(counts >= level).nonzero().flatten()[-surplus or len(counts) :]] -= 1
    order = torch.randperm(len(data), generator=rng.generator(0, "limit"))
    ids = torch.cat([order[data.train_y[order] == c][: int(b)] for c, b in enumerate(budget.tolist())])
    ids = ids.sort().values
    train_x = data.train_x[ids]
    mean, std = _moments(train_x)
    return replace(data, train_x=train_x, train_y=data.train_y[ids], mean=mean, std=std)


def _images(array: np.ndarray, where: str) -> Tensor:
    """Refuse what is no stack of square images; channels go to the second axis."""
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[3] in (1, 3) and array.shape[1] == array.shape[2]:
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or array.shape[1] not in (1, 3) or array.shape[2] != array.shape[3]:
        raise ValueError(
            f"{where} must be square with 1 or 3 channels, (n, side, side[, channels]), "
            f"got shape {array.shape}"
        )
    if 0 in array.shape:
        raise ValueError(f"{where} are empty: shape {array.shape}")
    if array.dtype == np.uint8:
        return torch.from_numpy(np.ascontiguousarray(array))
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"{where} must be uint8 or floating point, got {array.dtype}")
    if not np.isfinite(array).all():
        raise ValueError(f"{where} hold values that are not finite")
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _labels(array: np.ndarray, where: str) -> Tensor:
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"{where} must be integers in one dimension, got {array.dtype} of shape {array.shape}"
        )
    return torch.from_numpy(array.astype(np.int64))


def _same_form(source: str, train: Tensor, test: Tensor) -> None:
    if train.shape[1:] != test.shape[1:] or train.dtype != test.dtype:
        raise ValueError(
            f"{source}: train and test images differ in form: "
            f"{tuple(train.shape[1:])} {train.dtype} and {tuple(test.shape[1:])} {test.dtype}"
        )


def _class_count(source: str, train: Tensor, test: Tensor) -> int:
    """Labels must be 0..classes-1, each present in training, none new in the test split."""
    low, high = int(train.min()), int(train.max())
    present = len(torch.unique(train))
    if low != 0 or present != high + 1:
        hint = " Subtract 1?" if low == 1 and present == high else ""
        raise ValueError(
            f"{source}: train labels must be 0 to C-1 with every class present, "
            f"got {present} classes between {low} and {high}.{hint}"
        )
    if present < 2:
        raise ValueError(f"{source}: train labels hold one class only; at least 2 are needed")
    if int(test.min()) < 0 or int(test.max()) > high:
        raise ValueError(
            f"{source}: test labels must be in [0, {high}] as in training, "
            f"got {int(test.min())} to {int(test.max())}"
        )
    return present


def _moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per channel, chunk by chunk to spare memory."""
    total = torch.zeros(2, images.shape[1], dtype=torch.float64)
    for chunk in torch.split(images, 4096):
        x = chunk.double()
        total[0] += x.sum((0, 2, 3))
        total[1] += x.square().sum((0, 2, 3))
    mean, square = total / (images.numel() / images.shape[1])
    # A constant channel has no spread to divide by.
    std = (square - mean.square()).clamp(min=0).sqrt()
    return mean.float(), torch.where(std > 0, std, 1.0).float()
