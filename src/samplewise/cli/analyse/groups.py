"""`samplewise analyse groups`: which samples a method never, sometimes and always selects."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
import typer

from samplewise.bench.folder import RunFolder
from samplewise.bench.settings import Settings
from samplewise.checks import Range, checked, require
from samplewise.cli.analyse.common import (
    Force,
    Methods,
    Out,
    Source,
    Sources,
    folder_for,
    read_sources,
    show,
    write_json,
)
from samplewise.cli.console import terminal
from samplewise.cli.progress import Working
from samplewise.files.atomic import replacing
from samplewise.files.columns import naming, write_columns
from samplewise.report.drawing import grid

if TYPE_CHECKING:
    from rich.table import Table

    from samplewise.analysis.groups import SelectionGroups
    from samplewise.analysis.posterior import Posterior

FILES = ("groups.json", "groups.parquet", "groups.png")
_OWN = ("method", "seeds", "device", "threads", "workers", "test_every", "history", "subset", "strategy")
_OF_SCORES = ("weights", "normalize", "coreset_batch_size", "score_model", "proxy_width", "combine", "fit")
_BY_SEED = ("label_noise", "imbalance", "per_class", "image_corruption")


@checked
@dataclass(frozen=True)
class Wanted:
    """The numbers among the options."""

    checkpoints: Annotated[int | None, Range(1)]
    seed: Annotated[int, Range(0)]


def groups(
    sources: Sources,
    method: Methods = None,
    checkpoints: Annotated[
        int | None,
        typer.Option(
            help="The selections of each run, for tables without a history (of runs without --history)."
        ),
    ] = None,
    posterior: Annotated[
        bool, typer.Option("--posterior", help="Intervals of the shares, by Markov chain Monte Carlo.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the random subsets and of --posterior.")] = 0,
    out: Out = None,
    force: Force = False,
) -> None:
    """Split the samples into never, sometimes and always selected, beside random selection.

    The runs of a method count together. Writes the groups, and subsets to train on each of them alone.
    """
    wanted = Wanted(checkpoints, seed)
    require("matplotlib", "report")
    require("scipy", "analysis")
    found = read_sources(sources, method)
    with folder_for("groups", out, force, FILES) as folder:
        _split(folder, found, wanted, posterior)


def _split(folder: Path, sources: Sequence[Source], wanted: Wanted, posterior: bool) -> None:
    from samplewise.analysis.groups import selection_counts, selection_groups
    from samplewise.analysis.pictures.groups import draw
    from samplewise.analysis.posterior import sample_mixture

    by_method: dict[str, list[Source]] = {}
    for source in sources:
        by_method.setdefault(source.method, []).append(source)
    found, draws = {}, {}
    for name, runs in by_method.items():
        with naming(runs[0].path):
            counts = selection_counts([run.table for run in runs], wanted.checkpoints)
            found[name] = selection_groups(counts)
        if posterior:
            with Working(terminal(), f"{name}: Markov chain Monte Carlo") as working:
                draws[name] = sample_mixture(counts.histogram, seed=wanted.seed, on_step=working)
    rows = [_row(name, split, draws.get(name), by_method[name]) for name, split in found.items()]
    write_json(folder / FILES[0], {"methods": rows})
    _write_ids(folder / FILES[1], found)
    with replacing(folder / FILES[2]) as file:
        draw(found, file)
    console = terminal()
    show(_table(found, draws, console.width), _said(found), [folder / name for name in FILES])
    for name, split in found.items():
        for note in split.mixture.notes:
            console.print(f"{name}: {note}", soft_wrap=True, markup=False)
    console.print("To train on each group alone, and on as many random samples:", soft_wrap=True)
    for name, split in found.items():
        for line in _trainings(folder, split, by_method[name][0], wanted.seed):
            console.print(line, soft_wrap=True, markup=False)
    console.print(
        f"Then: samplewise analyse retraining {shlex.quote(str(folder))}/retrained-*", soft_wrap=True
    )


def _row(
    name: str, split: "SelectionGroups", draws: "Posterior | None", runs: Sequence[Source]
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "method": name,
        "runs": len(runs),
        "samples": len(split.counts.ids),
        "checkpoints": split.counts.checkpoints,
        "shares": split.shares,
        "random_shares": split.chance_shares,
        "random_shares_own_limits": split.chance_own_shares,
        "limits": split.mixture.limits,
        "mixture": asdict(split.mixture),
        "random_mixture": asdict(split.chance_mixture),
        "notes": split.mixture.notes,
        "histogram": split.counts.histogram.tolist(),
        "random_histogram": split.chance.tolist(),
    }
    if draws is not None:
        row["posterior"] = {
            "mixture": asdict(draws.mixture),
            "acceptance": draws.acceptance,
            "independent_draws": draws.independent,
            "intervals": {
                "shares": draws.interval(draws.groups()).T.tolist(),
                "mixture_shares": draws.interval(draws.shares).T.tolist(),
                "means": draws.interval(draws.means).T.tolist(),
                "widths": draws.interval(draws.widths).T.tolist(),
            },
        }
    return row


def _write_ids(file: Path, found: "dict[str, SelectionGroups]") -> None:
    """The count and the group of each sample, two columns for each method; -1 where a method has no row."""
    ids = torch.unique(torch.cat([torch.from_numpy(split.counts.ids) for split in found.values()]))
    columns = {"id": ids}
    for name, split in found.items():
        rows = torch.searchsorted(ids, torch.from_numpy(split.counts.ids))
        for word, values in (("times", split.counts.times), ("group", split.group)):
            column = torch.full((len(ids),), -1, dtype=torch.int64)
            column[rows] = torch.from_numpy(values).long()
            columns[f"{name}_{word}"] = column
    write_columns(file, columns, {"groups": ["never", "sometimes", "always"]})


def _said(found: "dict[str, SelectionGroups]") -> str:
    """What the groups are, in a sentence for each method."""
    said = []
    for name, split in found.items():
        never, _, always = (f"{100 * share:.1f} %" for share in split.shares)
        random = " and ".join(
            f"{100 * share:.1f} %" for share in (split.chance_shares[0], split.chance_shares[2])
        )
        said.append(
            f"{name} never selects {never} of the samples and always {always}; random selection {random} by "
            "the same limits."
        )
    return " ".join(said)


def _table(found: "dict[str, SelectionGroups]", draws: "dict[str, Posterior]", width: int) -> "list[Table]":
    headers = ("method", "never, %", "sometimes, %", "always, %", "never up to", "always from")
    rows: list[tuple[str, ...]] = []
    for name, split in found.items():
        cells = [f"{100 * share:.1f}" for share in split.shares]
        if name in draws:
            ends = 100 * draws[name].interval(draws[name].groups())
            cells = [f"{cell} ({ends[0, i]:.1f} to {ends[1, i]:.1f})" for i, cell in enumerate(cells)]
        rows.append((name, *cells, *_limits(split.mixture.limits)))
        same, own = (
            [f"{100 * share:.1f}" for share in shares]
            for shares in (split.chance_shares, split.chance_own_shares)
        )
        rows.append(("  random, same limits", *same, "", ""))
        rows.append(("  random, own limits", *own, *_limits(split.chance_mixture.limits)))
    return grid(headers, rows, width)


def _limits(limits: tuple[float, float]) -> tuple[str, str]:
    return f"{limits[0]:.1f}", f"{limits[1]:.1f}"


def _trainings(folder: Path, split: "SelectionGroups", source: Source, seed: int) -> Iterator[str]:
    """Write the subsets of a method; a command line for each."""
    from samplewise.analysis.groups import group_subsets

    settings = _settings(source)
    words = ["--data", "DATA"] if settings is None else train_options(settings)
    prefix = source.path.stem.removeprefix("scores-").removesuffix(f"-{source.seed}")
    for name, subset in group_subsets(split, source.table.provenance.get("fingerprint"), seed).items():
        file = folder / f"{prefix}-{name}.parquet"
        subset.to_parquet(file)
        end = ["--subset", str(file), "--out", str(folder / f"retrained-{prefix}-{name}")]
        yield shlex.join(["samplewise", "train", *words, *end])


def _settings(source: Source) -> Settings | None:
    """The settings of the run that a table is of; None for a file that is not in a run folder."""
    folder = RunFolder(source.path.parent)
    if not folder.config_file.is_file():
        return None
    for row in folder.results():
        if folder.scores(row["method"], row["seed"]).name == source.path.name:
            return folder.settings().of(row["method"])
    return None


def train_options(settings: Settings) -> list[str]:
    """The options of `samplewise train` for a task and a training, without methods, device and scores.

    Data that differ by seed fit a subset only with seed 0.
    """
    default, words = Settings(), []
    for field in fields(Settings):
        value, option = getattr(settings, field.name), "--" + field.name.replace("_", "-")
        if field.name in (*_OWN, *_OF_SCORES) or value == getattr(default, field.name):
            continue
        if field.name == "imbalance":
            words += [option, ",".join(f"{share:g}" for share in value)]
        elif isinstance(value, tuple):
            words += [word for one in value for word in (option, f"{one:g}")]
        else:
            words += [option] if value is True else [option, str(value)]
    seeds = 1 if any(getattr(settings, name) for name in _BY_SEED) else settings.seeds
    return [*words, "--seeds", str(seeds)]
