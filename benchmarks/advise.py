"""Predicted and realised savings of an epoch's time: `sw.advise` beside trainings.

    python benchmarks/advise.py [--quick] [--out benchmarks/results/advise.json]

Four models and six methods. In each repeat `sw.advise` predicts the share of the time that each method saves
against a loop without a Selector, and then the trainings run, epoch by epoch in turns, in the same process
with one thread. Times are processor time of this process. The images and texts are random numbers with labels
that can be learned, so that losses fall as in a training.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import samplewise as sw

METHODS = ("full", "infobatch", "evolved_sampling", "loss_sampling", "kakurenbo", "random_batch")
BATCH, EPOCHS, REPEATS, SECONDS, TARGET = 64, 8, 5, 8.0, 0.05
SIZES = {"mlp": 2048, "cnn": 768, "resnet": 384, "encoder": 512}
"""Number of samples of each model."""


class Block(nn.Module):
    """Two convolutions with batch norm and a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Images of the same shape."""
        found = F.relu(self.norms[0](self.first(x)))
        return F.relu(x + self.norms[1](self.second(found)))


class Encoder(nn.Module):
    """Two transformer layers on 32 tokens, their mean, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(100, 64)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(64, 4, 128, 0.1, batch_first=True) for _ in range(2)
        )
        self.head = nn.Linear(64, 10)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (b, 10)."""
        found = self.embed(ids)
        for layer in self.layers:
            found = layer(found)
        return self.head(found.mean(1))


def network(name: str) -> nn.Module:
    """One of the four models."""
    torch.manual_seed(0)
    if name == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(768, 256), nn.ReLU(), nn.Linear(256, 10))
    if name == "cnn":
        return nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(1024, 10),
        )  # fmt: skip
    if name == "resnet":
        return nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), Block(32), Block(32), Block(32),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
        )  # fmt: skip
    return Encoder()


def samples(name: str, n: int) -> TensorDataset:
    """Random images or texts whose labels can be learned, a tenth of them wrong."""
    rng = torch.Generator().manual_seed(0)
    y = torch.randint(10, (n,), generator=rng)
    if name == "encoder":
        x = torch.randint(10, 100, (n, 32), generator=rng)
        x[:, ::4] = y[:, None]
    else:
        x = torch.randn(n, 3, 16, 16, generator=rng)
        x += 0.5 * torch.randn(10, 3, 16, 16, generator=rng)[y]
    wrong = torch.rand(n, generator=rng) < 0.1
    return TensorDataset(x, torch.where(wrong, torch.randint(10, (n,), generator=rng), y))


def forward_of(model: nn.Module) -> Callable[[Any], sw.Outputs]:
    """Per-sample cross-entropy, with the logits that kakurenbo needs."""

    def forward(batch: Any) -> sw.Outputs:
        inputs, targets = batch
        logits = model(inputs)
        return sw.Outputs(F.cross_entropy(logits, targets, reduction="none"), logits, targets)

    return forward


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    """SGD with momentum."""
    return torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)


def epochs_of(name: str, method: str | None, data: TensorDataset, epochs: int, seed: int) -> Iterator[float]:
    """Train; yield the processor seconds of each epoch. Without a method: a loop without a Selector."""
    model = network(name)
    forward, optimizer = forward_of(model), optimizer_of(model)
    selector = None
    if method is None:
        loader: Any = DataLoader(data, BATCH, shuffle=True)
    else:
        selector = sw.Selector(method, data, forward, model=model, epochs=epochs, batch_size=BATCH, seed=seed)
        loader = selector.loader()
    for _ in range(epochs):
        begun = time.process_time()
        for batch in loader:
            loss = forward(batch).loss.mean() if selector is None else selector.loss(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        yield time.process_time() - begun


def realised(name: str, data: TensorDataset, epochs: int, seed: int) -> dict[str, float]:
    """The share of the time that each method saves, epoch by epoch in turns."""
    runs = {method: epochs_of(name, method, data, epochs, seed) for method in (None, *METHODS)}
    seconds = dict.fromkeys(runs, 0.0)
    for _ in range(epochs):
        for method, run in runs.items():
            seconds[method] += next(run)
    return {method: 1 - seconds[method] / seconds[None] for method in METHODS}


def predicted(name: str, data: TensorDataset, epochs: int, seconds: float) -> Any:
    """What `sw.advise` says before the training."""
    model = network(name)
    return sw.advise(
        forward_of(model),
        model,
        data,
        batch_size=BATCH,
        epochs=epochs,
        optimizer=optimizer_of(model),
        methods=METHODS,
        seconds=seconds,
        clock=time.process_time,
    )


def compared(name: str, quick: bool) -> list[dict[str, Any]]:
    """One row for each method: the realised and the predicted share, the medians of repeats in turns."""
    n, epochs, repeats = (BATCH * 4, 4, 1) if quick else (SIZES[name], EPOCHS, REPEATS)
    data, advices, shares = samples(name, n), [], []
    for seed in range(repeats):
        advices.append(predicted(name, data, epochs, 0.5 if quick else SECONDS))
        shares.append(realised(name, data, epochs, seed))
    rows = []
    for method in METHODS:
        said = [row for advice in advices for row in advice.rows if row.method == method]
        said = [row for row in said if row.scoring in ("", "full")]
        real = [share[method] for share in shares]
        found: dict[str, Any] = {"model": name, "method": method}
        found |= {"realised": statistics.median(real), "realised_all": real}
        found |= {"predicted": statistics.median(row.saved for row in said)}
        found |= {"predicted_all": [row.saved for row in said]}
        found |= {"interval": statistics.median(row.high - row.low for row in said)}
        found["step_ms"] = 1000 * statistics.median(sum(advice.step.values()) for advice in advices)
        off = found["predicted"] - found["realised"]
        rows.append(found | {"off": off, "met": abs(off) <= TARGET})
    return rows


def machine() -> dict[str, Any]:
    """The machine and the versions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_at_start": os.getloadavg()[0],
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }


def page(about: dict[str, Any], rows: list[dict[str, Any]], repeats: int) -> str:
    """The results in Markdown."""
    met = sum(row["met"] for row in rows)
    lines = [
        "# Predicted and realised savings",
        "",
        f"{about['cpu']}, {about['cores']} cores, {about['threads']} thread, torch {about['torch']}, Python "
        f"{about['python']}; load at the start {about['load_at_start']:.1f}. Shares of the processor time of "
        f"a loop without a Selector that a method saves, realised and predicted by `sw.advise`: the medians "
        f"of {repeats} repeats in turns (lowest to highest). The interval is the median width of the 95 % "
        "interval that one prediction states, which is of its timing alone. Made with `python "
        "benchmarks/advise.py --out benchmarks/results/advise.json`.",
        "",
        f"{met} of {len(rows)} predictions are within {100 * TARGET:.0f} points.",
        "",
        "| model | method | step, ms | realised | predicted | interval, points | off, points | within 5 |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in rows:
        real, said = (_spread(row[kind], row[f"{kind}_all"]) for kind in ("realised", "predicted"))
        lines.append(
            f"| {row['model']} | {row['method']} | {row['step_ms']:.1f} | {real} | {said} | "
            f"{100 * row['interval']:.1f} | {100 * row['off']:+.1f} | {'yes' if row['met'] else 'no'} |"
        )
    return "\n".join(lines) + "\n"


def _spread(middle: float, all_of: list[float]) -> str:
    return f"{_percent(middle)} ({_percent(min(all_of))} to {_percent(max(all_of))})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def main() -> None:
    """Compare all models, print the page, and write it with the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few samples, epochs and repeats")
    parser.add_argument("--model", action="append", choices=list(SIZES), help="only these models")
    parser.add_argument("--out", type=Path, help="a JSON file; a page is written beside it")
    given = parser.parse_args()
    torch.set_num_threads(1)
    about = machine()
    rows = [row for name in given.model or SIZES for row in compared(name, given.quick)]
    text = page(about, rows, 1 if given.quick else REPEATS)
    print(text)
    if given.out is not None:
        given.out.write_text(json.dumps({"machine": about, "target": TARGET, "rows": rows}, indent=1) + "\n")
        given.out.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
