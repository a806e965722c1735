"""`ImageData`: labelled images in memory, read from any `--data` source."""

from bisect import bisect_left
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Num, Shaped
from torch import Tensor

from samplewise import rng
from samplewise.bench import labels, readers
from samplewise.bench.columns import Columns
from samplewise.bench.splits import Found, Split


@dataclass(frozen=True)
class ImageData:
    """A training and a test split: images (n, channels, side, side), labels in [0, classes).

    Images are uint8, or float32 if the files hold floats or 16 bits. `mean` and `std` are of the training
    images, per channel, in the unit of the stored pixels. Vectors of d numbers are stored as d channels of
    one pixel. `class_names` is empty if labels are numbers. `test_split` is the name of the test split in
    the source. The validation split is None until `held_out` makes it. `train_groups` (n,) are the groups of
    the training images by a column of the source, int64 or text.
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
    validation_x: Num[Tensor, "v ch side side"] | None = None
    validation_y: Int[Tensor, " v"] | None = None
    train_groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.train_y)

    @property
    def channels(self) -> int:
        return self.train_x.shape[1]

    @property
    def side(self) -> int:
        return self.train_x.shape[2]

    def split(self, name: str) -> tuple[Tensor, Tensor]:
        """The images and labels of "train", "validation" or "test"."""
        x, y = getattr(self, f"{name}_x"), getattr(self, f"{name}_y")
        if x is None:
            raise ValueError(f"{self.name} has no {name} split. Make it with bench.data.held_out.")
        return x, y

    def trained_on(self, train_x: Tensor, train_y: Int[Tensor, " n"]) -> "ImageData":
        """Return the data with another training split, and with its mean and standard deviation."""
        mean, std = _moments(train_x)
        return replace(self, train_x=train_x, train_y=train_y, mean=mean, std=std)

    def taking(self, ids: Shaped[Tensor, " k"]) -> "ImageData":
        """Return the data with these rows of the training split: their numbers, or a mask."""
        made = self.trained_on(self.train_x[ids], self.train_y[ids])
        return (
            made if self.train_groups is None else replace(made, train_groups=self.train_groups[ids.numpy()])
        )

    def relabelled(self, train_y: Int[Tensor, " n"]) -> "ImageData":
        """Return the same images with other training labels."""
        return replace(self, train_y=train_y)


def load(
    source: str,
    *,
    image_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    size: int | None = None,
) -> ImageData:
    """Read `digits`, a .npz file, a folder of Parquet files or of images, or `hf:NAME`.

    With `size`, all images are cropped to a square and resized to that side. `group_column` names the
    group of each training image.

    Raises:
        ValueError: if the data cannot be used for training. The error names the file and the reason.
    """
    found = readers.read(source, Columns(image_column, label_column, group_column))
    (train, train_labels), (test, test_labels) = (_labelled(found, split, source) for split in found)
    train_y, test_y, class_names = labels.encode(train_labels, test_labels, source)
    classes = class_count(source, train_y, test_y)
    train_x, test_x = train.images(size), test.images(size)
    for split, x, y in (("train", train_x, train_y), ("test", test_x, test_y)):
        if len(x.values) != len(y):
            raise ValueError(
                f"{source}: the {split} split must have one label for each image, got {len(x.values)} "
                f"images and {len(y)} labels"
            )
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
        train_groups=None if train.groups is None else train.groups(),
    )


def _labelled(found: Found, split: str, source: str) -> tuple[Split, labels.Labels]:
    """The first candidate for a split that has labels, and its labels."""
    for candidate in found[split]:
        known = candidate.labels()
        if known is not None and known.present:
            return candidate, known
        if known is not None and not len(known):
            raise ValueError(
                f"{source}: the {candidate.name} split has no samples. Name other data with --data."
            )
    names = " and ".join(candidate.name for candidate in found[split])
    raise ValueError(
        f"{source}: {names} must have labels for training and testing, but all are missing, null or -1"
    )


def name_of(source: str) -> str:
    """A short name for run folders: `data/fmnist.npz` is `fmnist`, `hf:user/set` is `set`."""
    return Path(source.removeprefix("hf:")).stem or "data"


def limited(data: ImageData, limit: int) -> ImageData:
    """Keep `limit` training images, the same in every run, with class sizes as equal as possible.

    The test split is not changed.
    """
    ids = limited_rows(data.train_y, data.classes, limit, data.name)
    return data.taking(ids)


def limited_rows(y: Int[Tensor, " n"], classes: int, limit: int, name: str) -> Int[Tensor, " k"]:
    """The `limit` rows of `limited`, ascending, from the class numbers. `name` is that of the data."""
    if not classes <= limit <= len(y):
        raise ValueError(
            f"limit must be in [{classes}, {len(y)}] for {name} "
            f"({classes} classes, {len(y)} training samples), got {limit}"
        )
    counts = torch.bincount(y, minlength=classes)
    # Find one cap for all class sizes so that the total is `limit`. Smaller classes keep all images.
    level = bisect_left(range(limit + 1), limit, key=lambda v: int(counts.clamp(max=v).sum()))
    budget = counts.clamp(max=level)
    surplus = int(budget.sum()) - limit
    budget[(counts >= level).nonzero().flatten()[-surplus or len(counts) :]] -= 1
    order = torch.randperm(len(y), generator=rng.generator(0, "limit"))
    ids = torch.cat([order[y[order] == c][: int(b)] for c, b in enumerate(budget.tolist())])
    return ids.sort().values


def held_out(data: ImageData, share: float) -> ImageData:
    """Take a share of the training images as the validation split, the same in every run.

    Every class gives the same share, rounded, and keeps at least one image for training.

    Raises:
        ValueError: if the validation split would be empty.
    """
    taken = held_out_rows(data.train_y, data.classes, share, data.name)
    validation_x, validation_y = data.train_x[taken], data.train_y[taken]
    return replace(data.taking(~taken), validation_x=validation_x, validation_y=validation_y)


def held_out_rows(y: Int[Tensor, " n"], classes: int, share: float, name: str) -> Bool[Tensor, " n"]:
    """The rows of the validation split of `held_out`, from the class numbers. `name` is that of the data."""
    order = torch.randperm(len(y), generator=rng.generator(0, "validation"))
    taken = torch.zeros(len(y), dtype=torch.bool)
    for one in range(classes):
        members = order[y[order] == one]
        taken[members[: min(round(share * len(members)), len(members) - 1)]] = True
    if not taken.any():
        raise ValueError(
            f"validation must leave at least one sample, got {share:g} of the {len(y)} training samples of "
            f"{name}. Take a larger share."
        )
    return taken


def class_count(source: str, train: Tensor, test: Tensor) -> int:
    """Return the number of classes. Raise if training labels are not 0..C-1 or test labels hold others."""
    low, high = int(train.min()), int(train.max())
    present = len(torch.unique(train))
    if low != 0 or present != high + 1:
        hint = " Subtract 1?" if low == 1 and present == high else ""
        raise ValueError(
            f"{source}: train labels must be 0 to C-1, with samples of every class, "
            f"got {present} classes between {low} and {high}.{hint}"
        )
    if present < 2:
        raise ValueError(f"{source}: train labels must have at least 2 classes, got 1")
    if int(test.min()) < 0 or int(test.max()) > high:
        raise ValueError(
            f"{source}: test labels must be in [0, {high}], as the training labels, "
            f"got {int(test.min())} to {int(test.max())}"
        )
    return present


def _moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per channel, computed in chunks to save memory."""
    total = torch.zeros(2, images.shape[1], dtype=torch.float64)
    at_once = max(1, min(4096, 2**21 // images[0].numel()))
    for chunk in torch.split(images, at_once):
        x = chunk.double()
        total[0] += x.sum((0, 2, 3))
        total[1] += x.square().sum((0, 2, 3))
    mean, square = total / (images.numel() / images.shape[1])
    # A constant channel has standard deviation 0, which cannot be a divisor.
    std = (square - mean.square()).clamp(min=0).sqrt()
    return mean.float(), torch.where(std > 0, std, 1.0).float()
