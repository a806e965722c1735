"""Data with far more rows than a training can use: many copies, many wrong labels, and a few clean images.

    python benchmarks/web.py make cifar10.npz --out web.npz
    python benchmarks/web.py tables web.npz --out web
    python benchmarks/web.py map cifar10.npz --data web-map --out studies/web-map

`make` draws the training rows from images by a power law, and changes labels at random. The last rows of the
training split are other images with their true labels: the clean ones. `tables` writes what some methods of
studies/web.toml need, for the training rows that a study has after its validation split:

- `irreducible.parquet`: the loss of each row under a network that trained on the clean rows only. The clean
  rows have NaN: they take no part in the training of `rho_loss`.
- `clean.parquet`: the clean rows.
- `once.parquet`: one row of every image. Copies are found by their features.
- `agreed.parquet`: the rows whose label most copies of their image have, and the clean rows.
- `voted.parquet`: one row of every image, with the label that most copies have, and the clean rows.

Each file holds what it cost. `map` writes the data of studies/web-copies.toml and web-single.toml, and the
tables of each. These are smaller: with and without copies, with four shares of wrong labels. `map --quick`
draws 1,200 rows for each, and trains for one epoch.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy import ndarray

from samplewise import recipes
from samplewise.bench import data as images
from samplewise.bench.data import ImageData, held_out, held_out_rows
from samplewise.bench.settings import Settings
from samplewise.bench.train import Images, Run, Task
from samplewise.coresets.table import ScoreTable
from samplewise.cost.ledger import FORWARD
from samplewise.data.dataset import fingerprint
from samplewise.subset import Subset

EXPONENT, OFFSET = 0.9, 20
"""The power law: image of rank r is drawn with P ~ (r + OFFSET)^-EXPONENT."""
NOISES = (0.0, 0.2, 0.35, 0.5)
ROWS, COPIES, CLEAN = 25_600, 4, 1_280
"""Of the map: rows that are drawn, how many come on an image where there are copies, and the clean rows."""
VALIDATION = 0.02
"""As in studies/web.toml."""


def main() -> None:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    make = commands.add_parser("make", help="write the data")
    make.add_argument("data", type=Path, help="cifar10.npz, or another npz file of images")
    make.add_argument("--images", type=int, default=25_000, help="different images that are drawn from")
    make.add_argument("--rows", type=int, default=100_000, help="rows to draw")
    make.add_argument("--clean", type=int, default=5_000, help="other images, with true labels")
    make.add_argument("--noise", type=float, default=0.35, help="share of the drawn rows with a wrong label")
    make.add_argument("--flat", action="store_true", help="draw every image equally often")
    make.add_argument("--out", type=Path, required=True)
    make.set_defaults(run=write_data)
    tables = commands.add_parser("tables", help="write tables and subsets")
    tables.add_argument("data", type=Path, help="the file that `make` wrote")
    tables.add_argument("--clean", type=int, default=5_000, help="as for `make`")
    tables.add_argument("--epochs", type=int, default=12, help="of the network on the clean rows")
    tables.add_argument("--out", type=Path, required=True, help="a folder")
    tables.set_defaults(run=write_tables)
    grid = commands.add_parser(
        "map", help="write the data and tables of studies/web-copies.toml and web-single.toml"
    )
    grid.add_argument("images", type=Path, help="cifar10.npz")
    grid.add_argument("--data", type=Path, required=True, help="a folder for the data")
    grid.add_argument("--out", type=Path, required=True, help="a folder for the tables")
    grid.add_argument("--quick", action="store_true", help="few rows, and one epoch")
    grid.set_defaults(run=write_map)
    given = parser.parse_args()
    given.run(given)


def write_map(given: argparse.Namespace) -> None:
    """Write data and tables of every place on the map."""
    given.data.mkdir(parents=True, exist_ok=True)
    rows, clean, epochs = (1200, 200, 1) if given.quick else (ROWS, CLEAN, 12)
    for copies_on in (True, False):
        for noise in NOISES:
            name = f"{'copies' if copies_on else 'single'}-{round(100 * noise)}"
            made = {"images": rows // COPIES if copies_on else rows, "flat": not copies_on, "noise": noise}
            out = given.data / f"{name}.npz"
            write_data(argparse.Namespace(data=given.images, rows=rows, clean=clean, out=out, **made))
            tables = argparse.Namespace(data=out, clean=clean, epochs=epochs, out=given.out / name)
            write_tables(tables)


def write_data(given: argparse.Namespace) -> None:
    """Draw the rows, and write them."""
    with np.load(given.data) as source:
        arrays = {name: source[name] for name in ("train_x", "train_y", "test_x", "test_y")}
    rng = np.random.default_rng(0)
    order = rng.permutation(len(arrays["train_y"]))
    pool, clean = order[: given.images], order[given.images : given.images + given.clean]
    drawn = pool[draws(given.images, given.rows, given.flat, rng)]
    labels = arrays["train_y"][drawn].astype(np.int64)
    classes = int(arrays["train_y"].max()) + 1
    wrong = rng.permutation(given.rows)[: round(given.noise * given.rows)]
    labels[wrong] = (labels[wrong] + rng.integers(1, classes, len(wrong))) % classes
    rows = np.concatenate([drawn, clean])
    y = np.concatenate([labels, arrays["train_y"][clean].astype(np.int64)])
    np.savez(given.out, **(arrays | {"train_x": arrays["train_x"][rows], "train_y": y}))
    print(f"{given.out}: {given.rows} rows of {len(np.unique(drawn))} images, {len(wrong)} wrong labels, ")
    print(f"and {len(clean)} clean images")


def draws(images: int, rows: int, flat: bool, rng: np.random.Generator) -> ndarray:
    """The image of every row, (rows,): by the power law, or every image equally often."""
    if flat:
        return rng.permutation(np.arange(rows) % images)
    p = (np.arange(images) + OFFSET) ** -EXPONENT
    return rng.choice(images, rows, p=p / p.sum())


def write_tables(given: argparse.Namespace) -> None:
    """Train the network on the clean rows, and write the four files."""
    torch.set_num_threads(1)
    whole = images.load(str(given.data))
    data = held_out(whole, VALIDATION)
    clean = clean_rows(whole, given.clean)
    rest = torch.arange(len(data) - len(clean))
    settings = Settings(data=str(given.data), epochs=given.epochs, method=("full",), seeds=1).resolved()
    seen = replace(
        data,
        train_x=data.train_x[clean],
        train_y=data.train_y[clean],
        test_x=data.train_x[rest],
        test_y=data.train_y[rest],
    )
    given.out.mkdir(parents=True, exist_ok=True)
    run, checkpoint = Run(Task("clean", recipes.full(), 0, seen, settings)), given.out / "checkpoint.pt"
    loader = run.loader()
    for epoch in range(given.epochs):
        run.train_epoch(loader, epoch, checkpoint, lambda progress: None)
    checkpoint.unlink(missing_ok=True)
    begun = time.process_time()
    losses = torch.full((len(data),), float("nan"))
    losses[rest] = losses_of(run, seen.test_x, seen.test_y).half().float()  # a smaller file
    cost = run.selector.ledger.cost + FORWARD * len(rest)
    spent = {"cost": cost, "seconds": run.cpu + time.process_time() - begun}
    print(f"clean network: {accuracy_of(run, data):.1f} % on the test split, cost {cost:.0f} forwards")
    origin = {"n": len(data), "fingerprint": fingerprint(Images(data.train_x, data.train_y), data.train_y)}
    about = {**origin, "recipe": "irreducible", "fit": "holdout", "scoring": {"irreducible": spent}}
    times = torch.zeros(len(data), dtype=torch.int32)
    columns = {"irreducible": losses}
    ScoreTable(torch.arange(len(data)), columns, times, data.train_y, about).to_parquet(
        given.out / "irreducible.parquet"
    )
    groups = copies(data)
    passed = {"scoring": {"cost": FORWARD * len(data), "seconds": 0.0}}
    for name, ids, cost in (
        ("clean", clean, {}),
        ("once", first_of_each(groups), passed),
        ("agreed", agreed(groups, data.train_y), passed),
        ("voted", voted(groups, data.train_y), passed),
    ):
        Subset(ids, provenance={**origin, **cost}).to_parquet(given.out / f"{name}.parquet")
        print(f"{name}: {len(ids)} of {len(data)} rows")


def losses_of(run: Run, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The loss of each row in eval mode, (n,)."""
    run.model.eval()
    with torch.no_grad():
        return torch.cat([run.forward((x[i : i + 500], y[i : i + 500])).loss for i in range(0, len(y), 500)])


def accuracy_of(run: Run, data: ImageData) -> float:
    """Percent of the test split that the network gets right."""
    with torch.no_grad():
        parts = torch.arange(len(data.test_y)).split(500)
        logits = (run.forward.logits(data.test_x[i]) for i in parts)
        right = sum(int((z.argmax(1) == data.test_y[i]).sum()) for z, i in zip(logits, parts, strict=True))
    return 100 * right / len(data.test_y)


def clean_rows(whole: ImageData, clean: int) -> torch.Tensor:
    """The positions of the clean rows after the validation split. Rows keep their order."""
    left = (~held_out_rows(whole.train_y, whole.classes, VALIDATION, whole.name)).nonzero().flatten()
    return (left >= len(whole) - clean).nonzero().flatten()


def copies(data: ImageData) -> torch.Tensor:
    """The group of every row, (n,): rows of one image have the same features, here a fixed projection."""
    flat = data.train_x.flatten(1).double()
    projection = torch.randn(
        flat.shape[1], 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    return torch.unique(flat @ projection, dim=0, return_inverse=True)[1]


def first_of_each(groups: torch.Tensor) -> torch.Tensor:
    """The first row of each group."""
    return torch.from_numpy(np.unique(groups.numpy(), return_index=True)[1])


def agreed(groups: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The rows whose label is the most frequent one of their group. Equal counts: the lower class."""
    counts = torch.zeros(int(groups.max()) + 1, int(labels.max()) + 1)
    counts.index_put_((groups, labels), torch.ones(len(labels)), accumulate=True)
    return (counts.argmax(1)[groups] == labels).nonzero().flatten()


def voted(groups: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The first row of each group whose label is the most frequent one of the group."""
    right = agreed(groups, labels)
    return right[first_of_each(groups[right])]


if __name__ == "__main__":
    main()
