"""What a report is made of: runs with their tables of scores, comparisons, settings. Plain values."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Num

from samplewise.coresets.table import ScoreTable
from samplewise.report.against_cost import Point
from samplewise.report.curves import Curve
from samplewise.report.forest import Difference

__all__ = ["Comparison", "Facts", "Picture", "Run", "Spent"]


@dataclass(frozen=True)
class Picture:
    """A sample as it is shown.

    Attributes:
        kind: an image, or text: a text, or the numbers of a row.
        content: of an image its data URI, else the text.
    """

    kind: Literal["image", "text"]
    content: str


@dataclass(frozen=True)
class Spent:
    """What a method promised to save, what it saved, and where the time went: the mean over its seeds.

    Attributes:
        name: of the method.
        promised: share of the cost of ordinary training that it saves.
        realised: share of the wall clock that it saved; None: not measured.
        time: by stage of the ledger, in the unit of the comparison.
        estimated: whether the time of ordinary training is an estimate from this run.
    """

    name: str
    promised: float
    realised: float | None
    time: Mapping[str, float]
    estimated: bool = False


@dataclass(frozen=True)
class Comparison:
    """The methods of one folder beside one another.

    Attributes:
        title: of the folder or study.
        said: the verdict in words, a sentence or more.
        result: name of the result, with its unit; empty if no result is known.
        points: cost in percent of full training, and result, with intervals.
        full: full training of all lengths, the ladder.
        controls: random controls.
        curves: results during training.
        curves_result: what they show; empty: `result`.
        differences: paired differences to full training of the same cost, with verdicts.
        delta: the smallest difference that matters.
        heads: of the table of methods.
        rows: of that table, as text.
        notes: sentences that explain the table.
        spent: what was saved, for each method.
        unit: of the time of its stages.
        higher: whether a higher result is better.
    """

    title: str
    said: Sequence[str]
    result: str = ""
    points: Sequence[Point] = ()
    full: Sequence[Point] = ()
    controls: Sequence[Point] = ()
    curves: Sequence[Curve] = ()
    curves_result: str = ""
    differences: Sequence[Difference] = ()
    delta: float = 0.0
    heads: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    notes: Sequence[str] = ()
    spent: Sequence[Spent] = ()
    unit: str = "seconds"
    higher: bool = True


@dataclass(frozen=True, eq=False)
class Run:
    """One run whose samples are shown.

    Attributes:
        name: of the run, such as `infobatch, seed 0`.
        table: the scores of its samples; None: there is none.
        trained: for every epoch from 1 on the samples that were back-propagated, in shares of n.
        class_names: by class number; empty: not known.
        show: ids -> pictures of the samples; None: they cannot be shown.
        features: a vector for each sample, (n, d); None: not recorded.
        file: the Parquet file of the table, relative to the report; empty: there is none.
        lacks: why something is absent, a sentence for each of `table`,
            `history`, `samples` and `features`.
        predicts: whether the model predicts the labels. Only then a label may be suspected.
    """

    name: str
    table: ScoreTable | None = None
    trained: Sequence[float] = ()
    class_names: Sequence[str] = ()
    show: Callable[[Sequence[int]], list[Picture]] | None = None
    features: Num[np.ndarray, "n d"] | None = None
    file: str = ""
    lacks: Mapping[str, str] = field(default_factory=dict)
    predicts: bool = True

    def class_name(self, label: int) -> str:
        """The name of a class, or its number."""
        return str(self.class_names[label]) if label < len(self.class_names) else f"class {label}"


@dataclass(frozen=True, eq=False)
class Facts:
    """All that a report shows.

    Attributes:
        title: of the report.
        comparisons: one for each folder.
        runs: those whose samples are shown.
        settings: tables of names and values: configuration, versions, machine.
        left_out: sentences on runs that are not shown.
    """

    title: str
    comparisons: Sequence[Comparison] = ()
    runs: Sequence[Run] = ()
    settings: Sequence[tuple[str, Mapping[str, Any]]] = ()
    left_out: Sequence[str] = ()
