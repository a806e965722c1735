"""The table of a study, for the terminal and as Markdown, with what the numbers mean in words."""

from collections.abc import Callable, Iterator
from math import floor, isfinite, log10
from typing import TYPE_CHECKING

from samplewise.bench.judge import Verdict
from samplewise.bench.judge.paired import ALPHA, FEWEST
from samplewise.bench.judge.verdicts import seeds_for
from samplewise.bench.study.axes import AXES
from samplewise.bench.study.jobs import STOPPED
from samplewise.bench.study.results import Line, Results
from samplewise.bench.study.spec import delta_of
from samplewise.report.drawing import Column, as_markdown, drawn

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["descriptive", "heading", "in_words", "main_columns", "markdown", "notes", "places", "terminal"]

KINDS = {"method": "Methods", "control": "Controls", "ladder": "Full training"}
WORDS = ("better", "worse", "as good", "not shown", "too few seeds")


def heading(results: Results) -> str:
    """The title of every table and picture. It says if the training of the task was too long."""
    return f"{results.name} (training too long)" if results.gains is False else results.name


def main_columns(results: Results) -> list[Column]:
    """The columns of the table that has the verdicts."""
    digits = places(results.delta)
    family = len(results.verdicts)

    def of(text: Callable[[Verdict], str]) -> Callable[[Line], str]:
        return lambda line: "" if line.verdict is None else text(line.verdict)

    columns = [
        Column("method", lambda line: results.shown(line.name), words=True),
        Column(f"test {results.axis.metric}", lambda line: _result(line, results)),
        Column("cost", lambda line: f"{100 * line.cost:.1f} %"),
        Column("vs ladder", of(lambda v: f"{v.mean:+.{digits}f}")),
        Column("95 % interval", of(lambda v: _interval(v.interval, digits))),
        Column("verdict", _verdict, words=True),
        Column("vs exact control", of(lambda v: f"{v.exact_mean:+.{digits}f}")),
        Column("seeds", lambda line: str(line.seeds)),
        Column("detectable", of(lambda v: _number(v.detectable, digits))),
        Column(f"seeds for {results.delta:g}", of(lambda v: _needed(v, results, family))),
        Column("P(above)", of(lambda v: f"{v.above:.2f}")),
        Column("bootstrap interval", of(lambda v: _interval(v.bootstrap, digits))),
    ]
    if results.tuned:
        columns.append(Column("lr", lambda line: f"x{line.lr:g}"))
    return [c for c in columns if any(c.cell(line) for line in results.lines)]


def descriptive(results: Results) -> list[Column]:
    """The columns of the other results and costs. They decide nothing."""
    axes = dict.fromkeys(axis for line in results.lines for axis in line.beside)

    def of(axis: str) -> Callable[[Line], str]:
        digits = places(delta_of(axis.partition(" ")[0].rstrip(",")) or results.delta)
        return lambda line: _described(line.beside[axis], digits) if axis in line.beside else ""

    return [
        Column("method", lambda line: results.shown(line.name), words=True),
        *(Column(axis, of(axis), words=True) for axis in axes),
    ]


def in_words(results: Results) -> str:
    """What the study found, in a sentence."""
    named: dict[str, list[str]] = {word: [] for word in WORDS}
    for name, verdict in results.verdicts.items():
        named[verdict.word].append(results.shown(name))
    methods = results.of("method")
    if not results.verdicts or named["too few seeds"]:
        return f"There is no verdict on the {_count(len(methods), 'method')} yet."
    parts = [f"{len(found)} {word} ({', '.join(found)})" for word, found in named.items() if found]
    parts += [f"{without} without a verdict"] if (without := len(methods) - len(results.verdicts)) else []
    text = f"Beside full training of the same cost, of {_count(len(methods), 'method')}: {'; '.join(parts)}."
    if named["better"]:
        return text + _random_too(results)
    return f"{text} No method is shown to be better than full training of the same cost."


def _random_too(results: Results) -> str:
    """A caution if random selection is better than full training, too."""
    found = [c.name for c in results.of("control") if c.verdict and c.verdict.word == "better"]
    drawn = [name for name in found if name != STOPPED]
    if not drawn:
        return ""
    return (
        f" Random selection is better, too ({', '.join(drawn)}): the gain may come from training on fewer "
        "samples, and not from the choice."
    )


def notes(results: Results) -> list[str]:
    """What the numbers of the table mean. Only what applies is returned."""
    return list(_notes(results))


def _notes(results: Results) -> Iterator[str]:
    delta, metric, family = f"{results.delta:g}", results.axis.metric, len(results.verdicts)
    at = "the last epoch" if results.axis.at == "last" else "the epoch that validation chooses"
    if results.missing:
        yield f"{_count(results.missing, 'run')} not finished: this is a part of the study."
    yield (
        f"Test {metric} after {at}, mean ± standard deviation over seeds. Cost: {AXES[results.axis.cost]} "
        f"(forward 1, backward 2, scoring included) in shares of full training ({results.epochs} epochs). "
        f"{results.n:,} training samples."
    )
    if results.verdicts:
        yield from _about_verdicts(results, delta, metric, family)
    if results.tuned:
        yield (
            "The learning rate of every method and every length is chosen on validation data, with other "
            f"seeds. Tuning cost {results.tuning_cost:.1f} full trainings: reported, not charged."
        )
    else:
        yield "Not tuned: all methods train with the study's learning rate."
    yield f"{'Machine' if len(results.machines) == 1 else 'Machines'}: {'; '.join(results.machines)}."
    if len(results.machines) > 1:
        yield "Seconds of several machines are mixed."
    yield f"Task {results.task}."


def _about_verdicts(results: Results, delta: str, metric: str, family: int) -> Iterator[str]:
    opposite = " The sign is changed: above 0 is better." if results.axis.sign < 0 else ""
    yield (
        f"vs ladder: the mean difference to full training of the same cost, seed by seed.{opposite} Its 95 % "
        "interval (Student's t) is not adjusted for the number of methods. P(above): the share of seeds "
        "above, ties half. vs exact control: to full training with the whole number of epochs nearest below."
    )
    yield (
        f"Verdicts: paired t tests against both at level {ALPHA:g}. Holm's correction covers the "
        f"{2 * family} tests of {_count(family, 'method')}; the controls are a family of their own. As good "
        f"means: differences of {delta} or more are excluded. detectable: the difference found with power "
        f".8 at level {ALPHA:g}/{2 * family}."
    )
    if any(line.verdict and line.verdict.bootstrap is None for line in results.of("method")):
        yield "A bootstrap interval is given from 10 seeds on."
    few = [v for v in results.verdicts.values() if v.word == "too few seeds"]
    if few:
        needed = [seeds_for(v.spread, results.delta, family) for v in few if v.spread]
        wanted = f" A difference of {delta} needs up to {max(needed)} seeds here." if needed else ""
        yield f"Fewer than {FEWEST} seeds: numbers only, no verdicts.{wanted}"
    small = [n for n, v in results.verdicts.items() if v.inside and v.word in ("better", "worse")]
    if small:
        yield f"{', '.join(small)}: the mean difference is inside ±{delta}, so it matters little."


def markdown(results: Results) -> str:
    """The whole report as Markdown."""
    parts = [f"# {heading(results)}", results.question, f"**{results.about_the_task}**"]
    for kind, columns in ((None, main_columns(results)), ("descriptive", descriptive(results))):
        lines = _ordered(results, kind is None)
        if len(columns) > 1 and lines:
            parts += [f"## {_title(results, kind is None)}", as_markdown(columns, lines)]
    parts += ["\n".join(f"- {note}" for note in notes(results)), in_words(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def terminal(results: Results, width: int) -> list["Table"]:
    """The tables for a terminal (rich). Where all columns do not fit, there are several tables."""
    found = []
    for main, columns in ((True, main_columns(results)), (False, descriptive(results))):
        lines = _ordered(results, main)
        if len(columns) > 1 and lines:
            found += drawn(columns, lines, width, _title(results, main), lambda line: line.kind)
    return found


def places(delta: float) -> int:
    """The decimals to print: two digits of the smallest difference that matters.

    >>> places(0.3), places(0.02), places(5)
    (2, 3, 1)
    """
    return max(0, 1 - floor(log10(delta)))


def _title(results: Results, main: bool) -> str:
    what = "beside full training of the same cost" if main else "descriptive: other results and costs"
    return f"{heading(results)}: {what}"


def _ordered(results: Results, main: bool) -> list[Line]:
    """Methods, then controls, then the ladder."""
    lines = [line for kind in KINDS for line in results.lines if line.kind == kind]
    return lines if main else [line for line in lines if line.beside]


def _result(line: Line, results: Results) -> str:
    held = line.results if results.axis.at == "last" else line.best
    if results.axis.metric not in held:
        return "-"
    mean, spread = held[results.axis.metric]
    digits = places(results.delta)
    return f"{mean:.{digits}f}" + ("" if spread is None else f" ±{spread:.{digits}f}")


def _verdict(line: Line) -> str:
    if line.verdict is None:
        return f"none: {line.why}" if line.why else ""
    inside = line.verdict.inside and line.verdict.word in ("better", "worse")
    return f"{line.verdict.word}, inside delta" if inside else line.verdict.word


def _needed(verdict: Verdict, results: Results, family: int) -> str:
    if not verdict.spread:
        return ""
    return str(seeds_for(verdict.spread, results.delta, max(1, family)))


def _interval(interval: tuple[float, float] | None, digits: int) -> str:
    if interval is None or not all(map(isfinite, interval)):
        return ""
    return " to ".join(f"{end:+.{digits}f}" for end in interval)


def _described(verdict: Verdict, digits: int) -> str:
    number = f"{verdict.mean:+.{digits}f}"
    return number if verdict.word == "too few seeds" else f"{verdict.word} {number}"


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if isfinite(value) else ""


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
