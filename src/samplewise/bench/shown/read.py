"""`facts_of`: run folders, folders of studies and score tables as the facts of one report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Num

from samplewise.bench import files
from samplewise.bench.shown import studies
from samplewise.bench.shown.runs import Folder
from samplewise.checks import nearest
from samplewise.coresets.table import ScoreTable
from samplewise.html.facts import Comparison, Facts, Run

__all__ = ["RUNS", "Wanted", "facts_of"]

RUNS = 6
"""Runs whose samples are shown. More would hide one another."""
_FULL = "full"
_NO_FEATURES = (
    "No features are known, so nearest neighbours cannot be found. Give them with --features FILE.npy (n, d)."
)


@dataclass(frozen=True)
class Wanted:
    """What of the folders is shown.

    Attributes:
        methods: whose samples are shown; empty: all but `full`.
        seed: of these runs; None: the lowest of each method.
        data: the samples, as for `--data`; None: those of the run.
        features: a vector for each sample (n, d); None: not known.
        without: show no samples.
    """

    methods: Sequence[str] = ()
    seed: int | None = None
    data: str | None = None
    features: Num[np.ndarray, "n d"] | None = None
    without: bool = False


@dataclass
class _Found:
    """What has been read so far."""

    comparisons: list[Comparison] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    settings: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def facts_of(paths: Sequence[Path], wanted: Wanted, beside: Path) -> Facts:
    """All that the report of these paths shows.

    Args:
        paths: run folders of `samplewise train`, folders of studies, Parquet files of scores.
        wanted: what of them is shown.
        beside: the folder that the report is written to.

    Raises:
        ValueError: if a path does not exist or holds no run, a file is damaged, a method or seed has no run,
            or features or data do not fit.
    """
    found = _Found()
    for path in paths:
        if path.is_file() and path.suffix == ".parquet":
            _table(path, found)
        elif (path / "config.json").is_file():
            _folder(path, wanted, beside, found)
        else:
            _study(path, found)
    for method in wanted.methods:
        if method not in found.known:
            has = f" They have {', '.join(found.known)}." if found.known else ""
            raise ValueError(
                f"--method {method}: no folder given has a finished run of it."
                f"{nearest(method, found.known)}{has}"
            )
    if wanted.seed is not None and not found.runs:
        raise ValueError(f"--seed {wanted.seed}: no finished run has this seed.")
    if len(found.runs) > RUNS:
        names = ", ".join(run.name for run in found.runs[RUNS:])
        found.left_out.append(
            f"The samples of {RUNS} runs are shown, not those of {names}: choose with --method."
        )
    runs = [_with_features(run, wanted.features) for run in found.runs[:RUNS]]
    title = found.comparisons[0].title if len(found.comparisons) == 1 else f"{len(found.comparisons)} folders"
    return Facts(title, found.comparisons, runs, found.settings, found.left_out)


def _table(path: Path, found: _Found) -> None:
    """A Parquet file of scores."""
    table = ScoreTable.read(path)
    said = f"{path.name} holds scores of {len(table):,} samples. No result on test data goes with it."
    lacks = {"samples": "The samples are not known, so only their ids are here."}
    found.runs.append(Run(path.stem, table, file=str(path), lacks=lacks))
    found.comparisons.append(Comparison(path.stem, [said]))
    found.settings.append((f"{path.name}: where it comes from", table.provenance))


def _folder(path: Path, wanted: Wanted, beside: Path, found: _Found) -> None:
    """A run folder."""
    folder = Folder.read(path)
    found.comparisons.append(folder.comparison())
    found.known += folder.methods
    methods = [name for name in folder.methods if not wanted.methods or name in wanted.methods]
    if not wanted.methods and len(methods) > 1:
        methods = [name for name in methods if name != _FULL]
    for method in methods:
        rows = [
            row for row in folder.results if row["method"] == method and wanted.seed in (None, row["seed"])
        ]
        if rows:
            row = min(rows, key=lambda row: int(row["seed"]))
            # Of runs that are not shown, the data are not read.
            show = folder.show(row["seed"], wanted.data, wanted.without or len(found.runs) >= RUNS)
            found.runs.append(folder.run(row, show, beside))
    config = folder.config
    for name in ("settings", "policies", "data", "versions", "machine"):
        if isinstance(config.get(name), Mapping):
            found.settings.append((f"{path.name}: {name}", config[name]))


def _study(path: Path, found: _Found) -> None:
    """The folder of a study, or of its parts."""
    if not path.exists():
        raise ValueError(
            f"{path} does not exist. Give a run folder of `samplewise train` or a study's folder."
        )
    folders = studies.study_folders(path) if path.is_dir() else []
    if not folders:
        raise ValueError(
            f"{path} is neither a run folder of `samplewise train` (config.json) nor the folder of a study "
            f"({studies.VERDICTS}), nor a Parquet file of scores."
        )
    for folder in folders:
        results = studies.read_results(folder)
        found.comparisons.append(studies.comparison(results, folder))
        settings = folder / "study.json"
        if settings.is_file():
            found.settings.append((f"{folder.name}: study", files.read_json(settings)))


def _with_features(run: Run, features: np.ndarray | None) -> Run:
    """The run with the features that the user gave."""
    if features is None:
        return replace(run, lacks={"features": _NO_FEATURES} | dict(run.lacks))
    if run.table is not None and len(features) != len(run.table):
        raise ValueError(
            f"--features must have a vector for each of the {len(run.table):,} samples of {run.name}, got "
            f"{len(features):,}."
        )
    return replace(run, features=features)
