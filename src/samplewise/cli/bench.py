"""`samplewise bench`: a study, which holds methods against ordinary training of the same cost."""

import shlex
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from samplewise.bench.study import beside, claims_table, outputs, table
from samplewise.bench.study.results import Results
from samplewise.bench.study.running import said
from samplewise.bench.study.study import FailedRunsError, Study
from samplewise.cli import options
from samplewise.cli.console import terminal
from samplewise.cli.estimate import show_estimate, show_sum
from samplewise.cli.options import option
from samplewise.cli.study_progress import StudyWatch

Scale = Literal["small", "paper"]


def bench(
    study: Annotated[Path, typer.Argument(help="The study file (TOML).", metavar="STUDY.toml")],
    method: Annotated[
        list[str] | None,
        option(
            "A further method, as for `samplewise train`. Repeat the option for several.",
            complete=options.methods,
        ),
    ] = None,
    seeds: Annotated[
        int | None, option("Number of runs per method (seeds 0, 1, ...).", default="what the study says")
    ] = None,
    data: Annotated[
        str | None, option("Where the data of the study lie here.", default="what the study says")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Processes that train at the same time.")] = 1,
    out: Annotated[
        Path | None, option("The folder of the study.", default="STUDY, the file without its suffix")
    ] = None,
    scale: Annotated[
        Scale | None, option("The task that runs here, or that of the paper.", default="what the study says")
    ] = None,
    part: Annotated[
        list[str] | None, option("A part of the study. Repeat the option for several.", default="all of them")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show runs, cost, time and memory, and train nothing.")
    ] = False,
) -> None:
    """Judge methods: is one better than ordinary training of the same cost?

    Finished runs are kept, and the same command continues an interrupted study.
    """
    load = partial(Study.load, study, out=out, data=data, methods=method or (), seeds=seeds, scale=scale)
    studies = [load(part=name) for name in part or Study.parts(study) or (None,)]
    if dry_run:
        found = []
        while studies:  # each has its data in memory
            judged = studies.pop(0)
            found.append(judged.estimate(jobs))
            show_estimate(found[-1], jobs, terminal(), judged.spec.name)
        if len(found) > 1:
            show_sum(found, jobs, terminal())
        return
    again = ["bench", str(study)]
    for each in method or ():
        again += ["--method", each]
    for each in part or ():
        again += ["--part", each]
    at_once = jobs if jobs > 1 else None
    for name, value in (("scale", scale), ("seeds", seeds), ("data", data), ("out", out), ("jobs", at_once)):
        again += [f"--{name}", str(value)] if value is not None else []
    code = 0
    while studies:  # each has its data in memory
        try:
            conduct(studies.pop(0), jobs, again)
        except typer.Exit as ended:
            code = ended.exit_code
            if code != 1:
                raise
    if code:
        raise typer.Exit(code)


def conduct(judged: Study, jobs: int, again: list[str]) -> None:
    """Run a study and show what it found.

    Args:
        judged: the study.
        jobs: processes that train at the same time.
        again: the arguments of the command that continues it after Ctrl-C.
    """
    console = terminal()
    console.print(f"study folder {judged.folder}", style="dim", soft_wrap=True, markup=False)
    try:
        with StudyWatch(console, judged, jobs) as watch:
            results = judged.run(jobs, watch)
    except FailedRunsError as error:
        _show(judged.results(), judged.folder, console)
        for job, reason in error.failures:
            typer.echo(f"failed: {job.named}: {said(reason)}", err=True)
        typer.echo("The same command repeats only these runs.", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        kept = f"{len(judged.plan.rows)} finished runs are kept in {judged.folder / 'rows.jsonl'}."
        how = shlex.join(["samplewise", *again])
        typer.echo(f"\ninterrupted. {kept} Continue with: {how}", err=True)
        raise typer.Exit(130) from None
    _show(results, judged.folder, console)


def _show(results: Results, folder: Path, console: Console) -> None:
    """Print the tables and what they mean."""
    console.print()
    for line in (results.question, results.about_the_task):
        if line:
            console.print(line, style="bold", markup=False)
    for drawn in [*table.terminal(results, console.width), *beside.terminal(results, console.width)]:
        console.print()
        console.print(drawn)
    console.print()
    for note in [*table.notes(results), *beside.notes(results)]:
        console.print(note, style="dim", markup=False)
    if results.claims:
        console.print()
        for line in claims_table.lines(results):
            console.print(line, style="" if line.startswith(" ") else "bold", markup=False)
        console.print(claims_table.note(results), style="dim", markup=False)
    console.print()
    console.print(table.in_words(results), style="bold", markup=False)
    files = ", ".join(str(path) for name in outputs.FILES if (path := folder / name).exists())
    console.print(f"\nFiles: {files}", soft_wrap=True, markup=False)
