"""A run folder on disk as facts: its methods beside one another, and one run of each method in full."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from samplewise.bench.altered import described
from samplewise.bench.folder import RunFolder
from samplewise.bench.language.fits import is_language
from samplewise.bench.shown.samples import shown
from samplewise.bench.text.fits import is_text
from samplewise.coresets.table import ScoreTable
from samplewise.cost.ledger import STAGES
from samplewise.html.facts import Comparison, Picture, Run, Spent
from samplewise.report import pictures, table
from samplewise.report.measure import Measure, measure_of
from samplewise.report.summary import Summary, summarise

__all__ = ["Folder"]

Rows = list[dict[str, Any]]
_FULL = "full"


@dataclass(frozen=True)
class Folder:
    """The rows of a run folder, read and checked.

    Attributes:
        path: of the folder.
        config: all of `config.json`.
        results: a row for each finished run.
        curves: a row for each tested epoch.
    """

    path: Path
    config: Mapping[str, Any]
    results: Rows
    curves: Rows

    @classmethod
    def read(cls, path: Path) -> "Folder":
        """Read the folder.

        Raises:
            ValueError: if a file is damaged.
        """
        folder = RunFolder(path)
        folder.settings()
        return cls(path, folder.config(), folder.results(), folder.curves())

    @property
    def methods(self) -> list[str]:
        """The methods that have a finished run, in the order of the command."""
        finished = {row["method"] for row in self.results}
        return [name for name in RunFolder(self.path).settings().names if name in finished]

    @property
    def title(self) -> str:
        """Data, samples and model."""
        about, settings = self.config["data"], RunFolder(self.path).settings()
        what = "texts" if "texts" in about else "samples"
        return f"{about['name']}: {about['train']:,} {what}, {settings.model}{described(settings)}"

    @property
    def measure(self) -> Measure:
        """The result that is compared."""
        return measure_of(self.config["data"].get("metric", "accuracy"))

    def comparison(self) -> Comparison:
        """The methods beside one another, with a verdict in words, which is none of the judge."""
        summaries = summarise(self.results, self.methods, self.measure)
        points, full = pictures.points(self.results, self.methods, self.measure)
        heads = table.headers(summaries, self.measure)
        missing = self._missing()
        return Comparison(
            title=self.title,
            said=[*_said(summaries, self.measure), *missing],
            result=self.measure.label,
            higher=self.measure.higher,
            points=points,
            full=full,
            curves=pictures.during(self.results, self.curves, self.methods, "share", self.measure),
            heads=heads,
            rows=[
                [cell.replace("+-", "±") for cell in table.cells(one, len(heads), self.measure)]
                for one in summaries
            ],
            notes=[*(table.notes(summaries) if summaries else ()), f"Folder: {self.path}."],
            spent=[_spent(method, rows) for method, rows in _by_method(self.results, self.methods)],
        )

    def run(self, row: Mapping[str, Any], show: "Show", beside: Path) -> Run:
        """One run in full.

        Args:
            row: of the finished run.
            show: how its samples are shown, and why not.
            beside: the folder that the report is written to.

        Raises:
            ValueError: if its Parquet file is damaged.
        """
        method, seed = row["method"], row["seed"]
        file = RunFolder(self.path).scores(method, seed)
        lacks = dict(show.lacks)
        found = ScoreTable.read(file) if file.exists() else None
        if found is None:
            lacks["table"] = f"{file.name} is missing, so nothing is known of single samples."
            lacks["history"] = lacks["table"]
        model = RunFolder(self.path).settings().model
        if found is not None and (is_text(model) or is_language(model)):
            lacks["history"] = (
                "A run on texts keeps no history of its selections, so they are not shown by class."
            )
        curve = [r for r in self.curves if (r["method"], r["seed"]) == (method, seed)]
        return Run(
            name=f"{method}, seed {seed}",
            table=found,
            trained=_trained(curve, row["n"]),
            class_names=self.config["data"].get("class_names") or (),
            predicts=not is_language(model),
            show=show.show,
            file=_relative(file, beside) if found is not None else "",
            lacks=lacks,
        )

    def show(self, seed: int, data: str | None, without: bool) -> "Show":
        """How the samples of a seed are shown.

        Raises:
            ValueError: if the user named data that do not fit.
        """
        if without:
            return Show(None, {"samples": "The samples were left out, so only their ids are here."})
        settings, n = RunFolder(self.path).settings(), int(self.config["data"]["train"])
        try:
            return Show(shown(settings, seed, n, data), {})
        except (ValueError, OSError, ImportError) as error:
            if data is not None:
                raise ValueError(f"--data {data} does not fit {self.path}: {error}") from error
            why = f"The samples cannot be shown: {str(error).rstrip('.')}. Name the data with --data."
            return Show(None, {"samples": why})

    def _missing(self) -> list[str]:
        settings = RunFolder(self.path).settings()
        left = settings.seeds * len(settings.names) - len(self.results)
        return [f"{left} of {left + len(self.results)} runs are not finished."] if left else []


@dataclass(frozen=True)
class Show:
    """How samples are shown, or why they are not."""

    show: Callable[[Sequence[int]], list[Picture]] | None
    lacks: Mapping[str, str]


def _by_method(results: Rows, order: Sequence[str]) -> Iterator[tuple[str, Rows]]:
    for method in order:
        yield method, [row for row in results if row["method"] == method]


def _said(summaries: list[Summary], measure: Measure) -> Iterator[str]:
    """What the runs found, in sentences."""
    if not summaries:
        yield "No run has finished yet."
        return
    yield table.in_words(summaries, measure)
    if len(summaries) > 1 and min(one.seeds for one in summaries) == 1:
        yield "There is one seed, so a difference may be chance."


def _spent(method: str, rows: Rows) -> Spent:
    """The mean over the seeds. The scoring run of a coreset is a stage of its own."""
    time = {stage: fmean(row[f"seconds_{stage}"] for row in rows) for stage in STAGES}
    before = fmean(max(0.0, row["seconds"] - row["seconds_without_scoring"]) for row in rows)
    if before > 0:
        time = {"scoring run": before} | time
    saved = [row["realised"] for row in rows]
    return Spent(
        method,
        fmean(row["promised"] for row in rows),
        fmean(saved) if None not in saved else None,
        time,
        any(row["baseline"] == "estimated" for row in rows),
    )


def _trained(curve: Rows, n: int) -> list[float]:
    """The share of n that each epoch back-propagated. Epochs without a test have the mean of their gap."""
    rows = sorted(curve, key=lambda row: row["epoch"])
    shares: list[float] = []
    for before, after in pairwise([{"epoch": 0, "samples_backpropagated": 0}, *rows]):
        gap = after["epoch"] - before["epoch"]
        trained = after["samples_backpropagated"] - before["samples_backpropagated"]
        shares += [trained / gap / n] * gap
    return shares


def _relative(file: Path, beside: Path) -> str:
    """The file as seen from a folder, or its whole path."""
    try:
        return str(file.resolve().relative_to(beside.resolve()))
    except ValueError:
        return str(file)
