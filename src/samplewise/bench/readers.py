"""Readers of the `--data` sources. A reader returns the splits; labels and images are read later."""

from pathlib import Path

import numpy as np

from samplewise.bench import labels, pixels, tables
from samplewise.bench.columns import Columns
from samplewise.bench.labels import Labels
from samplewise.bench.splits import SPLITS, Found, Split
from samplewise.checks import require


def read(source: str, columns: Columns) -> Found:
    """Read `source` with the reader for its form. In every list of splits, the preferred one comes first."""
    if source in ("", "hf:"):
        raise ValueError(f"--data must be digits, a .npz file, a folder or hf:NAME, got {source!r}")
    if has_tables(source):
        return tables.read(source, columns)
    for option, name in (
        ("--label-column", columns.label),
        ("--image-column", columns.image),
        ("--groups", columns.group),
    ):
        if name is not None:
            way = "Use --groups label for the classes" if option == "--groups" else "Leave it out"
            raise ValueError(
                f"{option} {name} needs a folder, a Parquet file or hf:NAME as --data, but --data is "
                f"{source}. {way}."
            )
    if source == "digits":
        return read_digits()
    path = Path(source)
    if path.suffix == ".npz":
        return read_npz(path)
    missing = "" if path.exists() else ", which does not exist"
    raise ValueError(
        "--data must be a .npz file, a folder of Parquet files or images, 'digits', or 'hf:NAME' for the "
        f"hub, got {source}{missing}"
    )


def has_tables(source: str) -> bool:
    """Whether a source is a folder, a Parquet file or `hf:NAME`, which have columns."""
    path = Path(source)
    return source.startswith("hf:") or path.is_dir() or (path.suffix == ".parquet" and path.exists())


def read_digits() -> Found:
    """The 1,797 digits of scikit-learn, 8x8, grey. A fixed quarter of each class is the test split."""
    require("sklearn", "bench")
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    # The pixels are integers from 0 to 16. Multiplied by 15 they fit into a byte without rounding.
    images = (digits.images * 15).astype(np.uint8)
    train_x, test_x, train_y, test_y = train_test_split(
        images, digits.target, test_size=0.25, random_state=0, stratify=digits.target
    )
    return {
        "train": [_arrays("train", train_x, train_y, "digits")],
        "test": [_arrays("test", test_x, test_y, "digits")],
    }


def read_npz(path: Path) -> Found:
    """Read the arrays train_x, train_y, test_x, test_y of a .npz file. Names of splits are in `SPLITS`."""
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    if not path.is_file():
        raise ValueError(f"{path} is not a regular file")
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            words = {
                split: [word for word in words if {f"{word}_x", f"{word}_y"} <= set(file.files)]
                for split, words in SPLITS.items()
            }
            lacks = [
                f"{s}_{part}" for s in words if not words[s] for part in "xy" if f"{s}_{part}" not in file
            ]
            held = ", ".join(file.files) or "nothing"
            # Another test split is read only if the preferred one has no labels.
            y = {word: file[f"{word}_y"] for split in words for word in words[split]}
            chosen = {split: _labelled(names, y) for split, names in words.items()}
            x = {word: file[f"{word}_x"] for word in chosen.values() if word}
    except Exception as error:  # errors of zip, zlib and pickle have no common base class
        raise ValueError(f"{path} is not a readable .npz file: {error}") from error
    if lacks:
        raise ValueError(f"{path} must hold {', '.join(lacks)}, but it holds {held}")
    return {split: [_arrays(word, x[word], y[word], str(path))] for split, word in chosen.items()}


def _labelled(words: list[str], y: dict[str, np.ndarray]) -> str:
    """The first split that has labels; if none has, the first split."""
    known = [word for word in words if Labels(y[word]).present]
    return (known or words or [""])[0]


def _arrays(name: str, x: np.ndarray, y: np.ndarray, where: str) -> Split:
    return Split(
        name,
        lambda: labels.of_array(y, f"{where}: {name} labels"),
        lambda size: pixels.of_array(x, f"{where}: {name} images", size),
    )
