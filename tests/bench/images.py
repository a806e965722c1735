"""What the tests of `--data` are made of: encoded images, and tables and folders that hold them."""

import io

import numpy as np
from PIL import Image

RNG = np.random.default_rng(0)


def grey(side=8, width=None):
    return RNG.integers(0, 256, (side, width or side), dtype=np.uint8)


def colour(side=8, width=None):
    return RNG.integers(0, 256, (side, width or side, 3), dtype=np.uint8)


def encoded(image, fmt="PNG", **options):
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


def table(folder, split="train", n=12, image="image", images=None, **columns):
    """A Parquet file in the Hugging Face layout; `columns` replace or stand beside the label."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [grey() for _ in range(n)] if images is None else images
    rows = [encoded(row) if isinstance(row, np.ndarray | Image.Image) else row for row in rows]
    rows = [{"bytes": row, "path": None} if isinstance(row, bytes) else row for row in rows]
    columns = columns or {"label": [i % 3 for i in range(n)]}
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table({image: pa.array(rows, kind), **columns}), folder / f"{split}.parquet")


def both(folder, **columns):
    table(folder, "train", **columns)
    table(folder, "test", **columns)
    return str(folder)


def tree(folder, splits=("train", "test"), classes=("ant", "bee"), n=3, suffix=".png"):
    """Images in FOLDER/SPLIT/CLASS/."""
    for split in splits:
        for name in classes:
            (folder / split / name).mkdir(parents=True)
            for i in range(n):
                (folder / split / name / f"{i}{suffix}").write_bytes(encoded(grey()))
    return folder
