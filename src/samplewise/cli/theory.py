"""`samplewise theory perceptron`: dynamic beside static selection where every number is known."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import radians
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from samplewise.bench.folder import next_folder
from samplewise.bench.lock import folder_alone, free_folder_alone
from samplewise.checks import Range, checked, require
from samplewise.cli.console import terminal
from samplewise.files.atomic import replacing
from samplewise.report import perceptron as picture
from samplewise.report.drawing import grid

if TYPE_CHECKING:
    from rich.table import Table

    from samplewise.theory.perceptron import Comparison

theory = typer.Typer(
    name="theory", help="Compare the theory of selection with simulations.", no_args_is_help=True
)
ROOT = Path("runs")
Schedule = Literal["constant", "linear", "both"]
Margin = Literal["unsigned", "signed"]


@theory.callback()
def _options() -> None:
    """Compare the theory of selection with simulations."""


@checked
@dataclass(frozen=True)
class Wanted:
    """The options of the command; the defaults are the published setting."""

    alpha: Annotated[float, Range(0.1, 50)] = 3.2
    keep: tuple[Annotated[float, Range(0.05, 1)], ...] = (0.6,)
    theta: Annotated[float, Range(0, 89)] = 40.0
    schedule: Schedule | None = None
    margin: Margin = "unsigned"
    stages: Annotated[int | None, Range(1, 10**4)] = None
    dimension: Annotated[int, Range(2, 10**6)] = 200
    repeats: Annotated[int, Range(2, 10**6)] = 10
    seed: Annotated[int, Range(0)] = 0


STAGES = 12


@theory.command()
def perceptron(
    alpha: Annotated[float, typer.Option(help="Examples per dimension in the pool.")] = Wanted.alpha,
    keep: Annotated[
        list[float] | None,
        typer.Option(
            help="The share kept. Repeat the option for the share of each stage.", show_default="0.6"
        ),
    ] = None,
    theta: Annotated[
        float, typer.Option(help="Angle between the first probe and the teacher, in degrees.")
    ] = Wanted.theta,
    schedule: Annotated[
        Schedule | None,
        typer.Option(
            help="With one --keep: a constant share, a share that falls linearly to have --keep as its mean, "
            "or both.",
            show_default="both",
        ),
    ] = None,
    stages: Annotated[
        int | None, typer.Option(help="Number of selections, with one --keep.", show_default=str(STAGES))
    ] = None,
    margin: Annotated[
        Margin,
        typer.Option(
            help="Which margins the simulations keep the smallest of. The theory has unsigned ones."
        ),
    ] = Wanted.margin,
    dimension: Annotated[int, typer.Option(help="Dimension of the simulated inputs.")] = Wanted.dimension,
    repeats: Annotated[int, typer.Option(help="Number of simulated runs.")] = Wanted.repeats,
    seed: Annotated[int, typer.Option(help="Seed of the simulations.")] = Wanted.seed,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The folder to write.", show_default="a new runs/perceptron-N"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is in the folder.")] = False,
) -> None:
    """Train a perceptron on what it selects, stage by stage: theory, simulations, table, picture."""
    keeps = tuple(keep) if keep else Wanted.keep
    wanted = Wanted(alpha, keeps, theta, schedule, margin, stages, dimension, repeats, seed)
    free = free_folder_alone(lambda: next_folder(ROOT, "perceptron"))
    with free if out is None else folder_alone(out) as folder:
        _compare(wanted, folder, force)


def _compare(wanted: Wanted, folder: Path, force: bool) -> None:
    _refuse(folder, force)
    require("scipy", "theory")
    require("matplotlib", "report")
    from samplewise.theory.perceptron import compare

    schedules = dict(_schedules(wanted))
    w = wanted
    compared = {
        name: compare(
            w.alpha, keeps, radians(w.theta), w.dimension, w.repeats, w.seed, margin=w.margin
        )
        for name, keeps in schedules.items()
    }  # fmt: skip
    with replacing(folder / FILES[0]) as file:
        file.write(_json(wanted, compared).encode())
    columns = [_column(name, comparison) for name, comparison in compared.items()]
    title = "Selecting the smallest margins again and again"
    said = f"alpha {w.alpha:g}, first probe at {w.theta:g}°; d = {w.dimension}, "
    said += f"{w.repeats} runs ± standard error"
    said += ", simulated with signed margins" if w.margin == "signed" else ""
    with replacing(folder / FILES[1]) as file:
        picture.draw(columns, title, said, file)
    console = terminal()
    for name, comparison in compared.items():
        for drawn in _table(name, comparison, console.width):
            console.print(drawn)
            console.print()
    any_one = next(iter(compared.values()))
    console.print(
        f"whole pool: {100 * any_one.full.error:.2f} % error in theory; its support vectors are "
        f"{100 * any_one.critical_keep:.1f} % of it",
        soft_wrap=True,
    )
    console.print(_said(compared), style="bold", soft_wrap=True)
    console.print(f"Files: {folder / FILES[0]}, {folder / FILES[1]}", soft_wrap=True, markup=False)


FILES = ("perceptron.json", "perceptron.png")


def _refuse(folder: Path, force: bool) -> None:
    found = [name for name in FILES if (folder / name).exists()]
    if found and not force:
        raise ValueError(f"{folder / found[0]} exists: add --force to overwrite it, or choose another --out")


def _schedules(wanted: Wanted) -> Iterator[tuple[str, tuple[float, ...]]]:
    """The shares kept at each stage, by the name of their column."""
    from samplewise.theory.perceptron import linear_keeps

    if len(wanted.keep) > 1:
        for name in ("stages", "schedule"):
            if getattr(wanted, name) is not None:
                raise ValueError(f"--{name} goes with one --keep; {len(wanted.keep)} give a share each stage")
        yield "as given", wanted.keep
        return
    (keep,) = wanted.keep
    stages = STAGES if wanted.stages is None else wanted.stages
    schedule = wanted.schedule or "both"
    if schedule != "linear":
        yield f"{100 * keep:g} % kept at every stage", (keep,) * stages
    if schedule != "constant":
        keeps = linear_keeps(keep, stages)
        yield f"kept share falls to {100 * keeps[-1]:.0f} %, {100 * keep:g} % on average", keeps


def _rows(compared: "dict[str, Comparison]") -> Iterator[dict[str, Any]]:
    """A row for each schedule, kind and stage; theory has no standard error."""
    for name, comparison in compared.items():
        for kind in ("recursion", "static"):
            for stage, solved in enumerate(getattr(comparison, kind), 1):
                yield {
                    "schedule": name, "kind": kind, "stage": stage, "keep": solved.keep,
                    "error": solved.error, "standard_error": None, "R": solved.R, "kappa": solved.kappa,
                }  # fmt: skip
        for kind in ("fresh", "same"):
            for stage, found in enumerate(getattr(comparison, kind), 1):
                yield {
                    "schedule": name, "kind": kind, "stage": stage, "keep": found.keep,
                    "error": found.error.mean, "standard_error": found.error.standard_error,
                    "R": found.R.mean, "kappa": found.kappa.mean,
                }  # fmt: skip


def _json(wanted: Wanted, compared: "dict[str, Comparison]") -> str:
    one = next(iter(compared.values()))
    theory = {"full_error": one.full.error, "critical_keep": one.critical_keep}
    found = {"settings": asdict(wanted), **theory, "rows": list(_rows(compared))}
    return json.dumps(found, indent=1) + "\n"


def _column(name: str, comparison: "Comparison") -> picture.Stages:
    return picture.Stages(
        heading=name,
        keeps=[solved.keep for solved in comparison.recursion],
        critical_keep=comparison.critical_keep,
        recursion=[solved.error for solved in comparison.recursion],
        static=[solved.error for solved in comparison.static],
        full=comparison.full.error,
        fresh=[found.error for found in comparison.fresh],
        same=[found.error for found in comparison.same],
    )


def _said(compared: "dict[str, Comparison]") -> str:
    """What selecting again and again gives at the last stage, in a sentence."""
    name, best = min(compared.items(), key=lambda pair: pair[1].recursion[-1].error)
    last, once = best.recursion[-1].error, best.static[-1].error
    word = "less than" if last < once else "more than" if last > once else "the same as"
    return (
        f"After {len(best.recursion)} stages, theory has {100 * last:.2f} % error ({name}), {word} the "
        f"{100 * once:.2f} % of selecting once with the first probe."
    )


def _table(name: str, comparison: "Comparison", width: int) -> "list[Table]":
    headers = ("stage", "kept", "recursion", "fresh pools", "one pool", "first probe")
    rows = []
    stages = zip(comparison.recursion, comparison.fresh, comparison.same, comparison.static, strict=True)
    for stage, (solved, fresh, same, static) in enumerate(stages, 1):
        simulated = (f"{100 * e.mean:.2f} ± {100 * e.standard_error:.2f}" for e in (fresh.error, same.error))
        kept, recursion, probe = (f"{100 * share:.2f}" for share in (solved.keep, solved.error, static.error))
        rows.append((str(stage), kept, recursion, *simulated, probe))
    return grid(headers, rows, width, f"{name}: error, %")
