"""scikit-learn's digits as webdataset tars: workers drop the samples that InfoBatch leaves out, undecoded.

python examples/webdataset_stream.py [method]
"""

import io
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import torch
import webdataset as wds
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader

import samplewise as sw
from samplewise.integrations.streams import Kept, Stream

EPOCHS, BATCH, N, SHARDS = 15, 64, 1400, 4


def write(folder: Path, x: np.ndarray, y: np.ndarray) -> list[str]:
    """Write the samples into tars and return the paths."""
    paths = []
    for shard in range(SHARDS):
        path = folder / f"digits-{shard}.tar"
        with tarfile.open(path, "w") as tar:
            for i in range(shard, len(x), SHARDS):
                buffer = io.BytesIO()
                np.save(buffer, x[i])
                for ending, content in (("npy", buffer.getvalue()), ("cls", str(y[i]).encode())):
                    entry = tarfile.TarInfo(f"digit{i:04d}.{ending}")
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))
        paths.append(str(path))
    return paths


def main(method: str) -> None:
    """Train, and print the accuracy and the ledger."""
    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    x, y = (images[order] / 16).astype(np.float32), labels[order]
    model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def forward(batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        pixels, classes = batch
        return torch.nn.functional.cross_entropy(model(pixels), classes, reduction="none")

    selector = sw.Selector(method, N, forward, model=model, epochs=EPOCHS, batch_size=BATCH)
    keys = sw.KeyIds(N)
    with tempfile.TemporaryDirectory() as folder:
        tars = wds.WebDataset(write(Path(folder), x[:N], y[:N]), shardshuffle=False)
        decoded = tars.select(Kept(selector.mask(), keys)).decode().to_tuple("__key__", "npy", "cls")
        loader = DataLoader(decoded.batched(BATCH), batch_size=None, num_workers=2, persistent_workers=True)
        stream = Stream(selector, loader, keys=keys)

        for _ in range(selector.epoch, EPOCHS):
            for batch in stream:
                loss = selector.loss(batch)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    accuracy = (model(torch.tensor(x[N:])).argmax(1).numpy() == y[N:]).mean()
    print(f"{method}: test accuracy {accuracy:.1%}")
    print(selector.ledger)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "infobatch")
