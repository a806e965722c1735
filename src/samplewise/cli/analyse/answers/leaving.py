"""The work of `samplewise analyse leaving`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor

from samplewise.analysis import Group, Leaving, class_counts, leaving, leaving_groups
from samplewise.analysis.pictures import heat, images
from samplewise.bench.data import ImageData
from samplewise.cli.analyse.common import Source, folder_for, show, stems, write_json
from samplewise.cli.analyse.images import class_name, images_of
from samplewise.cli.console import terminal
from samplewise.files.atomic import replacing
from samplewise.files.columns import naming, write_columns
from samplewise.report.drawing import grid
from samplewise.rng import generator

if TYPE_CHECKING:
    from rich.table import Table

_CLASSES = 20
"""With more classes than this, the picture of the shares has all classes in one column."""


def answer(
    found: Sequence[Source],
    data: str | None,
    limit: int | None,
    class_names: str | None,
    without: bool,
    periods: int,
    examples: int,
    seed: int,
    out: Path | None,
    force: bool,
) -> None:
    """Group the samples of every table, write the files, print the tables."""
    kept = [source for source in found if source.table.history is not None] or list(found[:1])
    analysed = []
    for source in kept:
        with naming(source.path):
            analysed.append(leaving(source.table))
    pictured = [None if without else images_of(source, data, limit, class_names) for source in kept]
    names = [f"leaving-{stem}" for stem in stems(kept)]
    files = [f"{name}{end}" for name in names for end in (".json", ".parquet", "-classes.png")]
    files += [f"{name}.png" for name, data_of in zip(names, pictured, strict=True) if data_of is not None]
    console = terminal()
    with folder_for("leaving", out, force, files) as folder:
        for source, one, data_of, name in zip(kept, analysed, pictured, names, strict=True):
            groups = leaving_groups(one, periods)
            write_columns(folder / f"{name}.parquet", _columns(source, one), {"source": str(source.path)})
            write_json(folder / f"{name}.json", _plain(source, one, groups))
            with replacing(folder / f"{name}-classes.png") as file:
                _shares(source, one, groups, data_of, file)
            if data_of is not None:
                with replacing(folder / f"{name}.png") as file:
                    _grid(source, one, groups, data_of, examples, seed, file)
            console.print(source.name, style="bold", markup=False)
            for drawn in _table(source, one, groups, data_of, console.width):
                console.print(drawn)
                console.print()
    said = " ".join(f"{source.name}: {_said(one)}" for source, one in zip(kept, analysed, strict=True))
    show((), said, [folder / file for file in sorted(files)])


def _columns(source: Source, one: Leaving) -> dict[str, Tensor]:
    labels = {} if source.table.labels is None else {"label": source.table.labels}
    return {
        "id": source.table.ids,
        **labels,
        "left": one.left,
        "selections": one.times,
        "epochs_in": one.epochs_in,
        "returns": one.returns,
    }


def _plain(source: Source, one: Leaving, groups: Sequence[Group]) -> dict[str, Any]:
    counts = _counts(source, groups)
    return {
        "table": str(source.path),
        "n": len(one),
        "selections_in_epochs": list(one.epochs),
        "epochs": one.end,
        "groups": [
            {
                "name": group.name,
                "kind": group.kind,
                "first_epoch": group.first,
                "last_epoch": group.last,
                "samples": len(group.ids),
                "mean_epochs_in_plan": float(one.epochs_in[group.ids].double().mean()),
                "came_back": int((one.returns[group.ids] > 0).sum()),
                "classes": None if counts is None else counts[i].tolist(),
            }
            for i, group in enumerate(groups)
        ],
    }


def _counts(source: Source, groups: Sequence[Group]) -> Int[Tensor, "groups classes"] | None:
    labels = source.table.labels
    return None if labels is None else class_counts(groups, labels)


def _shares(source: Source, one: Leaving, groups: Sequence[Group], data: ImageData | None, file: Any) -> None:
    """The picture of the share of every class that is in each group."""
    counts = _counts(source, groups)
    sizes = torch.tensor([[len(group.ids)] for group in groups])
    parts, columns = [100 * sizes.double() / len(one)], ["all"]
    if counts is not None and counts.shape[1] <= _CLASSES:
        parts.append(100 * counts.double() / counts.sum(0))
        columns += [class_name(data, label) for label in range(counts.shape[1])]
    heat.draw(
        torch.cat(parts, 1).numpy(),
        [f"{group.name} ({len(group.ids):,})" for group in groups],
        columns,
        file,
        title=f"{source.name}: when samples leave the plan",
        said=_said(one),
        caption=f"n = {len(one):,}. Cells: % of the samples of a class that are in the group; columns sum to "
        "100.",
    )


def _grid(
    source: Source,
    one: Leaving,
    groups: Sequence[Group],
    data: ImageData,
    examples: int,
    seed: int,
    file: Any,
) -> None:
    """The picture of drawn images of each group, and of those that came back most often."""
    rng = generator(seed, "leaving")
    rows = []
    for group in groups:
        drawn = group.ids[torch.randperm(len(group.ids), generator=rng)[:examples]]
        share = f"{len(group.ids):,} images ({100 * len(group.ids) / len(one):.1f} %)"
        rows.append(_row(group.name, share, drawn, data))
    often = one.returns.argsort(descending=True, stable=True)[:examples]
    often = often[one.returns[often] > 0]
    if len(often):
        most, least = int(one.returns[often[0]]), int(one.returns[often[-1]])
        some = f"{most}" if most == least else f"{least} to {most}"
        rows.append(_row("came back most often", f"{some} times", often, data))
    images.draw(
        rows,
        file,
        title=f"{source.name}: which images leave the plan when",
        said=_said(one),
        caption=f"Images are drawn at random from each group (seed {seed}); the last row has the first by "
        "the number of returns. Below: class as trained, and id.",
    )


def _row(name: str, note: str, ids: Tensor, data: ImageData) -> images.Row:
    drawn = images.pixels(data.train_x[ids].numpy())
    labels = data.train_y[ids].tolist()
    captions = [f"{class_name(data, y)[:12]}\n#{i}" for i, y in zip(ids.tolist(), labels, strict=True)]
    return images.Row(name, note, list(drawn), captions)


def _said(one: Leaving) -> str:
    """How many samples stayed, and how many came back, in a sentence."""
    n, stayed = len(one), int((one.last == len(one.epochs) - 1).sum())
    back = int((one.returns > 0).sum())
    return (
        f"{len(one.epochs)} selections in {one.end} epochs: {stayed:,} of {n:,} samples are in the last "
        f"plan, and {back:,} came back at least once."
    )


def _table(
    source: Source, one: Leaving, groups: Sequence[Group], data: ImageData | None, width: int
) -> "list[Table]":
    counts, most = _counts(source, groups), "more than their share"
    rows = []
    for i, group in enumerate(groups):
        inside = one.epochs_in[group.ids].double()
        cells = (
            group.name,
            f"{len(group.ids):,}",
            f"{100 * len(group.ids) / len(one):.1f} %",
            f"{float(inside.mean()):.1f}",
            f"{int((one.returns[group.ids] > 0).sum()):,}",
            "" if counts is None else _typical(counts, i, data),
        )
        rows.append(cells)
    headers = ("group", "samples", "share", "epochs in the plan", "came back", most)
    return grid(headers, rows, width, words=(most,))


def _typical(counts: Tensor, group: int, data: ImageData | None) -> str:
    """The classes that are most over-represented in a group: up to three, at least 1.2 times."""
    expected = counts.sum(0).double() / counts.sum() * counts[group].sum()
    ratio = counts[group].double() / expected.clamp(min=1e-9)
    ratio[expected == 0] = 0
    best = ratio.argsort(descending=True, stable=True)[:3].tolist()
    return ", ".join(f"{class_name(data, y)} x{float(ratio[y]):.1f}" for y in best if ratio[y] >= 1.2)
