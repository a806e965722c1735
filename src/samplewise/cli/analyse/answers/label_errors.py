"""The work of `samplewise analyse label-errors`."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, BinaryIO

import torch
from jaxtyping import Bool
from torch import Tensor

from samplewise.analysis import (
    Detection,
    Suspects,
    cleanlab_label_errors,
    detection,
    suspected_label_errors,
)
from samplewise.analysis.pictures import images
from samplewise.analysis.pictures import label_errors as picture
from samplewise.bench.altered import wrong_labels
from samplewise.bench.data import ImageData
from samplewise.bench.folder import RunFolder
from samplewise.checks import nearest
from samplewise.cli.analyse.arrays import read_array
from samplewise.cli.analyse.common import Source, folder_for, show, stems, write_json
from samplewise.cli.analyse.images import class_name
from samplewise.cli.console import terminal
from samplewise.files.atomic import replacing
from samplewise.files.columns import naming, write_columns
from samplewise.report.drawing import grid

if TYPE_CHECKING:
    from rich.table import Table

_JSON, _PICTURE = "label-errors.json", "label-errors.png"
_IMAGES = 10
"""Images of each ranking."""


def answer(
    found: Sequence[Source],
    pictured: Sequence[ImageData | None],
    by: Sequence[str],
    lowest: Sequence[str],
    noise_from: Path | None,
    probabilities: Path | None,
    top: int,
    out: Path | None,
    force: bool,
) -> None:
    """Rank the samples of every table, write the files, print the tables."""
    if probabilities is not None and len(found) != 1:
        raise ValueError(f"--probabilities are of one training, but {len(found)} tables are given. Give one.")
    ranked = [_rankings(source, by, lowest, probabilities) for source in found]
    masks = [_wrong(source, noise_from) for source in found]
    if any(mask is None for mask in masks) and not all(mask is None for mask in masks):
        unknown = next(source for source, mask in zip(found, masks, strict=True) if mask is None)
        raise ValueError(
            f"{unknown.path}: the wrong labels are known for other tables, but not for this one. Give "
            "--noise-from, or only tables with --label-noise."
        )
    scored: dict[str, list[Detection]] = {}
    for source, suspects, mask in zip(found, ranked, masks, strict=True):
        if mask is not None:
            with naming(source.path):
                for one in suspects:
                    scored.setdefault(one.name, []).append(detection(one, mask))
    tables = [f"suspects-{name}.parquet" for name in stems(found)]
    grids = [f"suspects-{name}.png" for name in stems(found)]
    written = [_JSON, *([_PICTURE] if scored else []), *tables]
    written += [name for name, data in zip(grids, pictured, strict=True) if data is not None]
    with folder_for("label-errors", out, force, written) as folder:
        for source, suspects, mask, name in zip(found, ranked, masks, tables, strict=True):
            write_columns(folder / name, _columns(source, suspects, mask), {"source": str(source.path)})
        for data, source, suspects, mask, name in zip(pictured, found, ranked, masks, grids, strict=True):
            if data is not None:
                with replacing(folder / name) as file:
                    _grid(data, source, suspects, mask, file)
        write_json(folder / _JSON, _plain(found, ranked, scored))
        if scored:
            about = f"{_counted(scored)}; {len(found)} run{'s' * (len(found) > 1)}."
            with replacing(folder / _PICTURE) as file:
                picture.draw(scored, file, title="Suspected label errors", said=_best(scored), caption=about)
    one, width = ranked[0][0], terminal().width
    shown = _table(scored, width) if scored else []
    if top:
        shown += _first(found[0], one, masks[0], top, width)
    known = _best(scored) if scored else _suspected(found[0], one)
    show(shown, known, [folder / name for name in written])


def _grid(
    data: ImageData, source: Source, ranked: Sequence[Suspects], mask: Tensor | None, file: BinaryIO
) -> None:
    """The picture of the first images of every ranking."""
    labels = data.train_y if source.table.labels is None else source.table.labels
    rows = []
    for one in ranked:
        ids = one.ids[:_IMAGES]
        given = labels[torch.searchsorted(source.table.ids, ids)].tolist()
        truths = ["" if mask is None else " wrong" if mask[i] else " right" for i in ids.tolist()]
        captions = [
            f"{class_name(data, y)[:12]}\n#{i}{truth}"
            for i, y, truth in zip(ids.tolist(), given, truths, strict=True)
        ]
        drawn = images.pixels(data.train_x[ids].numpy())
        which = "lowest first" if one.lowest else "highest first"
        rows.append(images.Row(one.name, which, list(drawn), captions))
    known = "" if mask is None else ", and whether this label is wrong"
    images.draw(
        rows,
        file,
        title=f"{source.name}: suspected label errors",
        caption=f"The first {_IMAGES} of {len(source.table):,} images by each ranking. Below: the label as "
        f"trained, and the id{known}.",
    )


def _rankings(
    source: Source, by: Sequence[str], lowest: Sequence[str], probabilities: Path | None
) -> list[Suspects]:
    """The rankings of one table."""
    table = source.table
    recorded = [name for name in table.provenance.get("methods", ()) if name in table.columns]
    names = list(by or recorded or table.columns)
    with naming(source.path):
        if not names:
            raise ValueError(
                "the table has no scores. Score with a method that measures something; of a run folder, "
                "choose such runs with --method."
            )
        for name in lowest:
            if name not in names:
                raise ValueError(
                    f"--lowest must be one of {', '.join(names)}, got {name!r}.{nearest(name, names)}"
                )
        made = [suspected_label_errors(table, name, lowest=name in lowest or None) for name in names]
        if probabilities is not None:
            if table.labels is None:
                raise ValueError("--probabilities need the labels of the samples, but the table has none.")
            array = read_array(probabilities, "--probabilities", "probabilities")
            made += [
                cleanlab_label_errors(array, table.labels, how)
                for how in ("self_confidence", "normalized_margin")
            ]
    return made


def _wrong(source: Source, given: Path | None) -> Bool[Tensor, " n"] | None:
    """Which labels are wrong, if that is known."""
    n = len(source.table)
    if given is not None and not given.is_dir():
        return _truths(given)
    if given is not None or source.seed is not None:
        folder = source.path.parent if given is None else given
        rate = RunFolder(folder).settings().label_noise
        if not rate and given is not None:
            raise ValueError(f"--noise-from {given}: this run folder has no --label-noise.")
        seed = source.seed if source.seed is not None else source.table.provenance.get("seed") or 0
        return wrong_labels(n, rate, int(seed)) if rate else None
    noise = source.table.provenance.get("label_noise")
    return None if noise is None else wrong_labels(n, float(noise["share"]), int(noise["seed"]))


def _truths(file: Path) -> Bool[Tensor, " n"]:
    array = read_array(file, "--noise-from", "wrong")
    if array.ndim != 1 or not ((array == 0) | (array == 1)).all():
        raise ValueError(
            f"--noise-from {file} must hold one truth value, or 0 or 1, for each sample, got shape "
            f"{array.shape} of {array.dtype}."
        )
    return torch.from_numpy(array.astype(bool))


def _columns(source: Source, ranked: Sequence[Suspects], mask: Tensor | None) -> dict[str, Tensor]:
    """What the file of one table holds: for every sample its score and its rank, by each ranking."""
    table = source.table
    columns = {"id": table.ids}
    if table.labels is not None:
        columns["label"] = table.labels
    if mask is not None:
        columns["wrong"] = mask[table.ids]
    place = torch.empty(int(table.ids.max()) + 1, dtype=torch.int64)
    for one in ranked:
        place[one.ids] = torch.arange(len(one))
        columns[f"{one.name} rank"] = place[table.ids]
        values = torch.empty(len(place), dtype=torch.float64)
        values[one.ids] = -one.scores if one.lowest else one.scores
        columns[one.name] = values[table.ids]
    return columns


def _numbers(scored: Sequence[Detection]) -> dict[str, list[float]]:
    """What the table shows of one ranking, for every run."""
    return {
        "average precision": [one.average_precision for one in scored],
        "precision at #wrong": [one.precision_at(one.wrong) for one in scored],
        "precision in the first tenth of that": [one.precision_at(max(1, one.wrong // 10)) for one in scored],
    }


def _plain(
    found: Sequence[Source], ranked: Sequence[Sequence[Suspects]], scored: dict[str, list[Detection]]
) -> dict[str, Any]:
    directions = {one.name: "lowest" if one.lowest else "highest" for suspects in ranked for one in suspects}
    return {
        "tables": [str(source.path) for source in found],
        "suspected": directions,
        "detection": {
            name: {"n": runs[0].n, "wrong": [one.wrong for one in runs], **_numbers(runs)}
            for name, runs in scored.items()
        },
    }


def _by_area(scored: dict[str, list[Detection]]) -> list[str]:
    return sorted(scored, key=lambda name: -fmean(one.average_precision for one in scored[name]))


def _counted(scored: dict[str, list[Detection]]) -> str:
    n = {one.n for runs in scored.values() for one in runs}
    wrong = sorted({one.wrong for runs in scored.values() for one in runs})
    some = f"{wrong[0]:,}" if len(wrong) == 1 else f"{wrong[0]:,} to {wrong[-1]:,}"
    return f"n = {', '.join(f'{size:,}' for size in sorted(n))}, {some} wrong labels"


def _best(scored: dict[str, list[Detection]]) -> str:
    """What was found, in a sentence."""
    name = _by_area(scored)[0]
    found = fmean(one.precision_at(one.wrong) for one in scored[name])
    return (
        f"{name} ranks best by average precision: of as many suspects as there are wrong labels, "
        f"{100 * found:.0f} % are wrong."
    )


def _suspected(source: Source, one: Suspects) -> str:
    """Whom a ranking suspects first, in a sentence: which labels are wrong is not known."""
    which = "lowest" if one.lowest else "highest"
    return (
        f"{source.name}: sample {int(one.ids[0])} is suspected first, with the {which} {one.name}. Which "
        "labels are wrong is not known, so look at the first ones."
    )


def _table(scored: dict[str, list[Detection]], width: int) -> "list[Table]":
    chance = fmean(one.chance for runs in scored.values() for one in runs)
    title = f"Suspected label errors: {_counted(scored)} (chance: {chance:.3f})"
    headers = ["ranked by", *_numbers(next(iter(scored.values())))]
    rows = [[name, *map(_cell, _numbers(scored[name]).values())] for name in _by_area(scored)]
    return grid(headers, rows, width, title)


def _cell(values: Sequence[float]) -> str:
    spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
    return f"{fmean(values):.3f}{spread}"


def _first(source: Source, one: Suspects, mask: Tensor | None, top: int, width: int) -> "list[Table]":
    """The first suspects of one ranking."""
    title = f"{source.name}: the {'lowest' if one.lowest else 'highest'} {one.name}"
    cells = []
    labels = source.table.labels
    rows = torch.searchsorted(source.table.ids, one.ids[:top])
    for i, row in enumerate(rows.tolist()):
        score = float(one.scores[i])
        truth = [] if mask is None else ["yes" if mask[one.ids[i]] else "no"]
        label = "" if labels is None else str(int(labels[row]))
        cells.append([str(int(one.ids[i])), label, f"{-score if one.lowest else score:.4g}", *truth])
    return grid(["id", "label", one.name, *(["wrong"] if mask is not None else [])], cells, width, title)
