"""Labelled images in memory: the one form that every `--data` source is turned into."""

from bisect import bisect_left
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from samplewise import rng
from samplewise.bench import labels, readers
from samplewise.bench.columns import Columns
from samplewise.bench.splits import Found, Split


@dataclass(frozen=True)
class ImageData:
    """A training and a test split: images (n, channels, side, side), labels 0..classes-1.

    Images are uint8, or float32 where the files held floats or 16 bits. `mean` and `std` are the training
    images' own, per channel, in the unit of the stored pixels. Vectors of d numbers are d channels of one
    pixel. `class_names` is empty where labels were numbers; `test_split` is what the source calls the test.
    """

    name: str
    classes: int
    train_x: Num[Tensor, "n ch side side"]
    train_y: Int[Tensor, " n"]
    test_x: Num[Tensor, "t ch side side"]
    test_y: Int[Tensor, " t"]
    mean: Float[Tensor, " ch"]
    std: Float[Tensor, " ch"]
    vectors: bool = False
    class_names: tuple[str, ...] = ()
    test_split: str = "test"

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


def load(
    source: str, *, image_column: str | None = None, label_column: str | None = None, size: int | None = None
) -> ImageData:
    """Read `digits`, a .npz file, a folder of Parquet files or of images, or `hf:NAME`.

    With `size` all images are resized and cropped to that side. Anything that cannot be trained on is
    refused here, naming the file and the reason.
    """
    found = readers.read(source, Columns(image_column, label_column))
    (train, train_labels), (test, test_labels) = (_labelled(found, split, source) for split in found)
    train_y, test_y, class_names = labels.encode(train_labels, test_labels, source)
    classes = _class_count(source, train_y, test_y)
    train_x, test_x = train.images(size), test.images(size)
    for split, x, y in (("train", train_x, train_y), ("test", test_x, test_y)):
        if len(x.values) != len(y):
            raise ValueError(f"{source}: {len(x.values)} {split} images but {len(y)} labels")
    train_x, test_x = train_x.alike(test_x, source)
    mean, std = _moments(train_x.values)
    return ImageData(
        name_of(source),
        classes,
        train_x.values,
        train_y,
        test_x.values,
        test_y,
        mean,
        std,
        train_x.vectors,
        class_names,
        test.name,
    )


def _labelled(found: Found, split: str, source: str) -> tuple[Split, labels.Labels]:
    """The first of the splits that has labels, and these."""
    for candidate in found[split]:
        known = candidate.labels()
        if known is not None and known.present:
            return candidate, known
        if known is not None and not len(known):
            raise ValueError(f"{source}: {candidate.name} images are empty")
    names = " and ".join(candidate.name for candidate in found[split])
    raise ValueError(
        f"{source}: {names} has no labels (they are missing, null or -1), which training and testing need"
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
    at_once = max(1, min(4096, 2**21 // images[0].numel()))
    for chunk in torch.split(images, at_once):
        x = chunk.double()
        total[0] += x.sum((0, 2, 3))
        total[1] += x.square().sum((0, 2, 3))
    mean, square = total / (images.numel() / images.shape[1])
    # A constant channel has no spread to divide by.
    std = (square - mean.square()).clamp(min=0).sqrt()
    return mean.float(), torch.where(std > 0, std, 1.0).float()
