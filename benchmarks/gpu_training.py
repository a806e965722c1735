"""The trainings that benchmarks/gpu.py times: images that lie on the device, and steps one by one."""

import statistics
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

import samplewise as sw
from samplewise.bench import machine
from samplewise.bench.forward import last_layer
from samplewise.bench.models import build as network
from samplewise.testing import by_tokens
from samplewise.testing.counting import with_target

BF16 = torch.bfloat16
FORMS: dict[str, dict[str, bool]] = {
    "float32": {},
    "channels last": {"last": True},
    "bfloat16": {"amp": True},
    "bfloat16, channels last": {"amp": True, "last": True},
}


class Images(torch.utils.data.Dataset[int]):
    """Images and labels on the device. A sample is its number, so that loading costs nothing."""

    def __init__(self, x: Tensor, y: Tensor, device: torch.device) -> None:
        self.x, self.y = x.to(device), y.to(device)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> int:
        return index

    @classmethod
    def of_noise(cls, n: int, side: int, device: torch.device) -> "Images":
        """Noise with ten classes."""
        rng = torch.Generator().manual_seed(0)
        x, y = torch.randn(n, 3, side, side, generator=rng), torch.randint(10, (n,), generator=rng)
        return cls(x, y, device)


class Training:
    """A training that goes step by step, so that several can take turns.

    Args:
        recipe: a policy, or the name of a method.
        data: the images.
        name: of the network.
        b: the batch size.
        epochs: of the whole training.
        amp: whether the model runs in bfloat16.
        last: whether images and weights have the channels last in memory.
        backend: of `torch.compile`; None: the model is not compiled.
        lr: the highest learning rate.
        given: further arguments of the Selector.
    """

    def __init__(
        self, recipe: Any, data: Images, name: str, b: int, epochs: int = 30, *, amp: bool = False,
        last: bool = False, backend: str | None = None, lr: float = 0.05, **given: Any,
    ) -> None:  # fmt: skip
        self.data, self.amp, self.lr = data, amp, lr
        self.device, side = data.x.device, data.x.shape[-1]
        layout = torch.channels_last if last else torch.contiguous_format
        self.x = data.x.contiguous(memory_format=layout)
        self.model = network(name, 3, 10, side, 0).to(self.device, memory_format=layout)
        layer = last_layer(self.model, 10)
        head = next(name for name, module in self.model.named_modules() if module is layer)
        slim = None
        if getattr(recipe, "proxy", False):
            slim = sw.proxy.slim(
                self.model, head=head, example=torch.zeros(2, 3, side, side, device=self.device)
            )
        self.classify = sw.classifier(self.model, head, proxy=slim)
        forward: Any = self.forward
        if slim is not None:
            forward = Proxied(self)
        elif getattr(recipe, "level", None) == "token":
            forward = self.by_tokens
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr, momentum=0.9, weight_decay=5e-4)
        if backend is not None:
            self.model.compile(backend=backend)
        given["scoring"] = with_target(recipe, given.get("scoring"), data)
        self.selector = sw.Selector(
            recipe, data, forward, model=self.model, epochs=epochs, batch_size=b, labels=data.y.cpu(), **given
        )
        pinned = self.device.type == "cuda"
        self.loader = self.selector.loader(collate_fn=torch.tensor, pin_memory=pinned)
        self.batches = self._batches()

    def forward(self, batch: Tensor | tuple[Tensor, Tensor], proxy: bool = False) -> sw.Outputs:
        """The outputs of a batch; of numbers of samples in a pass."""
        if isinstance(batch, Tensor):
            batch = self.taken(batch)
        call: Any = self.classify.proxy if proxy else self.classify
        with torch.autocast(self.device.type, BF16, enabled=self.amp):
            found: sw.Outputs = call(batch)
        return found

    def by_tokens(self, batch: tuple[Tensor, Tensor]) -> sw.Outputs:
        """The outputs of a batch, with made-up losses of tokens."""
        return by_tokens(self.forward(batch), self.ids)

    def taken(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Images and labels by number."""
        self.ids = ids = ids.to(self.device, non_blocking=True)
        return self.x[ids], self.data.y[ids]

    def _batches(self) -> Iterator[sw.Batch[Tensor]]:
        for _ in range(self.selector.epoch, self.selector.epochs):
            yield from self.loader

    def next(self) -> sw.Batch[tuple[Tensor, Tensor]]:
        """The next batch, on the device."""
        batch = next(self.batches).to(self.device, non_blocking=True)
        return sw.Batch(batch.ids, self.taken(batch.data))

    def step(self, batch: sw.Batch[tuple[Tensor, Tensor]]) -> None:
        """One training step."""
        loss = self.selector.loss(batch)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()

    def timed(self) -> float:
        """Seconds of a step, between two moments at which the device has nothing to do."""
        batch = self.next()
        begun = machine.clock(self.device)
        self.step(batch)
        return machine.clock(self.device) - begun


class Proxied:
    """A forward that can also run the narrow view."""

    def __init__(self, training: Training) -> None:
        self.training = training

    def __call__(self, batch: Any) -> sw.Outputs:
        """The outputs of the model."""
        return self.training.forward(batch)

    def proxy(self, batch: Any) -> sw.Outputs:
        """The outputs of the narrow view."""
        return self.training.forward(batch, proxy=True)


def shifted(x: Tensor) -> Tensor:
    """Images moved by up to 4 pixels and mirrored at random, without a wait."""
    b, _, side, _ = x.shape
    at = torch.arange(side, device=x.device)
    corner = torch.randint(0, 9, (2, b, 1), device=x.device)
    columns = torch.where(torch.rand(b, 1, device=x.device) < 0.5, side - 1 - at, at)
    which = torch.arange(b, device=x.device)[:, None, None]
    padded = F.pad(x, (4, 4, 4, 4))
    moved = padded[which, :, (corner[0] + at)[:, :, None], (corner[1] + columns)[:, None, :]]
    return moved.permute(0, 3, 1, 2)


def in_turns(runs: dict[str, Training], rounds: int, warm: int = 3) -> dict[str, list[float]]:
    """Seconds of the steps of each training; they take turns. The first steps are not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + warm):
        for name, run in runs.items():
            spent = run.timed()
            if number >= warm:
                seconds[name].append(spent)
    return seconds


def spread(values: list[float]) -> dict[str, float]:
    """Median, and 10th to 90th percentile."""
    low, high = np.percentile(values, (10, 90))
    return {"median": statistics.median(values), "low": float(low), "high": float(high)}


def parts(data: Images) -> Iterator[tuple[Tensor, Tensor]]:
    """The images in order, 1000 at a time."""
    return zip(data.x.split(1000), data.y.split(1000), strict=True)


def cifar(file: str, device: torch.device, quick: bool) -> tuple[Images, Images]:
    """Training and test images, normalized; noise in the quick form."""
    if quick:
        return Images.of_noise(64, 8, device), Images.of_noise(32, 8, device)
    with np.load(file) as found:
        given = {key: torch.from_numpy(found[key]) for key in ("train_x", "train_y", "test_x", "test_y")}
    made = []
    for split in ("train", "test"):
        x = given[f"{split}_x"].float() / 255
        x = x.permute(0, 3, 1, 2) if x.shape[-1] == 3 else x
        made.append(Images((x - 0.47) / 0.25, given[f"{split}_y"].long().flatten(), device))
    return made[0], made[1]
