"""Finished runs beside one another: over two parameters, over keep, and beside published numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan
from statistics import fmean, stdev
from typing import Any

import numpy as np

from samplewise.checks import nearest
from samplewise.report import keep
from samplewise.report.against_cost import interval
from samplewise.report.curves import Curve

__all__ = [
    "Beside",
    "Comparison",
    "Grid",
    "Published",
    "Result",
    "accuracy_by_keep",
    "beside_published",
    "keep_rows",
    "over_two",
]

_FULL = "full"


@dataclass(frozen=True)
class Result:
    """One finished run.

    Attributes:
        method: as on the command line.
        recipe: its name alone.
        params: every parameter of the method with its value, and the settings of its own run.
        seed: of the run.
        value: its result on test data.
        n: the number of training samples.
    """

    method: str
    recipe: str
    params: Mapping[str, Any]
    seed: int
    value: float
    n: int = 0


@dataclass(frozen=True, eq=False)
class Grid:
    """Means over seeds for every pair of values of two parameters.

    Attributes:
        recipe: the method.
        x: the parameter of the columns, with its values `xs`, ascending.
        y: the parameter of the rows, with its values `ys`, ascending.
        mean: (len(ys), len(xs)). NaN: no run has these values.
        spread: the sample standard deviation over seeds. NaN with fewer than two.
        seeds: the number of runs in each cell.
        fixed: the other parameters, which are the same in all runs.
    """

    recipe: str
    x: str
    y: str
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    mean: np.ndarray
    spread: np.ndarray
    seeds: np.ndarray
    fixed: Mapping[str, Any]


@dataclass(frozen=True)
class Published:
    """A published number, and ours for the same method.

    Attributes:
        method: its name.
        setting: the table or column that it is compared within, such as "CIFAR-10, keep 0.3".
        published: the number.
        source: where it was published.
        ours: the results of our runs, one for each seed. Empty: not run.
        spread: the published standard deviation, if there is one.
    """

    method: str
    setting: str
    published: float
    source: str
    ours: Sequence[float] = ()
    spread: float | None = None


@dataclass(frozen=True)
class Beside:
    """One published number beside ours.

    Attributes:
        row: what is compared.
        theirs: the published number, or its difference to the published reference.
        mean: ours, or its difference to our reference; None: not run.
        low: the lower end of the 95 % interval of `mean`; None with fewer than two seeds.
        high: its upper end.
    """

    row: Published
    theirs: float
    mean: float | None
    low: float | None
    high: float | None

    @property
    def difference(self) -> float | None:
        """Ours minus theirs."""
        return None if self.mean is None else self.mean - self.theirs


@dataclass(frozen=True)
class Comparison:
    """Published numbers beside ours.

    Attributes:
        rows: in the order given.
        reference: the method whose number was subtracted, if any. It has no row.
        agreement: for every setting with at least 3 methods on both sides, Spearman's rank correlation
            between the published numbers and ours: 1 if the order of the methods is the same. It is NaN if
            all numbers of a side are equal.
    """

    rows: Sequence[Beside]
    reference: str | None
    agreement: Mapping[str, float] = field(default_factory=dict)


def accuracy_by_keep(results: Sequence[Result]) -> list[Curve]:
    """A line for every method that was run with several values of `keep`; `full` is the last, if it was run.

    A point is the mean over seeds, with the lowest and the highest seed. Methods that differ in another
    parameter have lines of their own.

    Raises:
        ValueError: if no method has two values of keep, a method and seed come twice, or the runs are of
            different data.
    """
    rows, keeps = keep_rows(results)
    found = keep.lines(rows, keeps)
    if not found:
        raise ValueError(
            "accuracy against keep needs a method with at least two values of keep, got "
            f"{', '.join(sorted({one.method for one in results})) or 'no run'}."
        )
    return found


def keep_rows(results: Sequence[Result]) -> tuple[list[dict[str, Any]], dict[str, tuple[str, float]]]:
    """The runs as `report.keep` reads them."""
    rows = [
        {"method": one.method, "seed": one.seed, "n": one.n, "test_accuracy": one.value} for one in results
    ]
    by_recipe: dict[str, list[Result]] = {}
    for one in results:
        if _number(one.params.get("keep")):
            by_recipe.setdefault(one.recipe, []).append(one)
    keeps = {}
    for recipe, runs in by_recipe.items():
        differing = [key for key in _differing(runs) if key != "keep"]
        for one in runs:
            said = ",".join(f"{key}={one.params.get(key)}" for key in differing)
            keeps[one.method] = (f"{recipe}:{said}" if said else recipe, float(one.params["keep"]))
    return rows, keeps


def over_two(
    results: Sequence[Result],
    x: str,
    y: str,
    *,
    recipe: str | None = None,
    where: Mapping[str, Any] | None = None,
) -> Grid:
    """The mean over seeds for every pair of values of two parameters of one method.

    Args:
        results: finished runs. Those of other methods are left out.
        x: the parameter of the columns, such as `T`, or a setting of the run, such as `lr`.
        y: the parameter of the rows.
        recipe: the method. None: the only one that has both parameters.
        where: values of other parameters. Only runs that have them are taken.

    Raises:
        ValueError: if no method has both parameters, several have them, a parameter has fewer than two
            values, another parameter differs, or a cell has a seed twice.
    """
    if x == y:
        raise ValueError(f"x and y must be two parameters, got {x!r} twice.")
    runs = [one for one in results if _number(one.params.get(x)) and _number(one.params.get(y))]
    runs = [one for one in runs if recipe in (None, one.recipe)]
    if not runs:
        known = {key for one in results if recipe in (None, one.recipe) for key in one.params}
        odd = next((name for name in (x, y) if name not in known), None)
        of = "" if recipe is None else f" of {recipe}"
        hint = "" if odd is None else f" {odd!r} is no parameter.{nearest(odd, sorted(known))}"
        raise ValueError(f"no run{of} has a number for both {x!r} and {y!r}.{hint}")
    if len(recipes := sorted({one.recipe for one in runs})) > 1:
        raise ValueError(f"runs of several methods have {x} and {y}: {', '.join(recipes)}. Name one.")
    for key, value in (where or {}).items():
        has = sorted({repr(one.params.get(key)) for one in runs})
        runs = [one for one in runs if key in one.params and one.params[key] == value]
        if not runs:
            raise ValueError(f"no run has {key}={value!r}: it is {', '.join(has)}.")
    xs, ys = (tuple(sorted({float(one.params[name]) for one in runs})) for name in (x, y))
    for name, values in ((x, xs), (y, ys)):
        if len(values) < 2:
            raise ValueError(f"{name} must have at least two values, got only {values[0]:g}.")
    if others := [key for key in _differing(runs) if key not in (x, y)]:
        has = sorted({repr(one.params.get(others[0])) for one in runs})
        raise ValueError(
            f"the runs also differ in {others[0]} ({', '.join(has)}). Take one of its values: where "
            f"{others[0]}=..."
        )
    cells: dict[tuple[int, int], dict[int, float]] = {}
    for one in runs:
        place = ys.index(float(one.params[y])), xs.index(float(one.params[x]))
        if one.seed in (cell := cells.setdefault(place, {})):
            raise ValueError(
                f"each method and seed must have one run, but {one.method}, seed {one.seed} has several. "
                "Leave out one of the folders."
            )
        cell[one.seed] = one.value
    shape = len(ys), len(xs)
    mean, spread, seeds = np.full(shape, nan), np.full(shape, nan), np.zeros(shape, dtype=np.int64)
    for place, found in cells.items():
        mean[place], seeds[place] = fmean(found.values()), len(found)
        spread[place] = stdev(found.values()) if len(found) > 1 else nan
    fixed = {key: value for key, value in runs[0].params.items() if key not in (x, y)}
    return Grid(runs[0].recipe, x, y, xs, ys, mean, spread, seeds, fixed)


def beside_published(rows: Sequence[Published], reference: str | None = None) -> Comparison:
    """Published numbers beside ours, and whether the methods are in the same order.

    Our runs are mostly smaller than the published ones, so the numbers themselves differ. With a `reference`,
    such as full training, what is compared is the difference to it: published minus published, and ours
    minus ours, seed by seed.

    Args:
        rows: the numbers.
        reference: a method with a row in every setting.

    Raises:
        ValueError: if there is no row, a number is not finite, a method comes twice in a setting, or the
            reference is missing or has another number of seeds.
    """
    if not rows:
        raise ValueError("there must be at least one published number, got none.")
    seen = set()
    for row in rows:
        for value in (row.published, *row.ours):
            if not isfinite(value):
                raise ValueError(f"{row.method} in {row.setting}: numbers must be finite, got {value}.")
        if (key := (row.setting, row.method)) in seen:
            raise ValueError(f"{row.method} has two rows in {row.setting}. Keep one, or name two settings.")
        seen.add(key)
    found = []
    for row in rows:
        if row.method != reference:
            base = None if reference is None else _reference(rows, reference, row)
            found.append(_beside(row, base))
    if not found:
        raise ValueError(f"there must be a method beside the reference {reference}, got none.")
    agreement = {}
    for setting in dict.fromkeys(one.row.setting for one in found):
        pairs = [
            (one.theirs, one.mean) for one in found if one.row.setting == setting and one.mean is not None
        ]
        if len(pairs) >= 3:
            agreement[setting] = _spearman(*zip(*pairs, strict=True))
    return Comparison(found, reference, agreement)


def _reference(rows: Sequence[Published], reference: str, row: Published) -> Published:
    named = [one for one in rows if one.method == reference and one.setting == row.setting]
    if not named:
        raise ValueError(f"{row.setting} must have a row of the reference {reference}, got none.")
    if row.ours and len(named[0].ours) != len(row.ours):
        raise ValueError(
            f"{row.setting}: {row.method} has {len(row.ours)} of our runs, and the reference {reference} has "
            f"{len(named[0].ours)}. They are compared seed by seed: give the same seeds."
        )
    return named[0]


def _beside(row: Published, base: Published | None) -> Beside:
    ours = list(row.ours)
    theirs = row.published
    if base is not None:
        theirs -= base.published
        ours = [one - other for one, other in zip(ours, base.ours, strict=True)] if ours else []
    if not ours:
        return Beside(row, theirs, None, None, None)
    mean = fmean(ours)
    if len(ours) < 2:
        return Beside(row, theirs, mean, None, None)
    half = interval(stdev(ours), len(ours))
    return Beside(row, theirs, mean, mean - half, mean + half)


def _spearman(some: Sequence[float], others: Sequence[float]) -> float:
    """The correlation of the ranks; equal values have the mean of their ranks."""
    from scipy.stats import rankdata

    ranks = [rankdata(values) for values in (some, others)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return nan
    return float(np.corrcoef(*ranks)[0, 1])


def _differing(runs: Sequence[Result]) -> list[str]:
    """The parameters that do not have the same value in all runs."""
    names = dict.fromkeys(key for one in runs for key in one.params)
    return [key for key in names if len({repr(one.params.get(key)) for one in runs}) > 1]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
