"""`samplewise bench`: a study, which holds methods against ordinary training of the same cost."""

import shlex
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from samplewise.bench.study import beside, claims_table, outputs, table
from samplewise.bench.study.estimate import Estimate
from samplewise.bench.study.results import Results
from samplewise.bench.study.running import said
from samplewise.bench.study.study import FailedRunsError, Study
from samplewise.cli import options
from samplewise.cli.console import terminal
from samplewise.cli.estimate import document, show_estimate, sum_of, takes
from samplewise.cli.options import option
from samplewise.cli.output import Output
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
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Judge methods: is one better than ordinary training of the same cost?

    Finished runs are kept, and the same command continues an interrupted study.
    """
    output = Output(quiet, as_json)
    load = partial(Study.load, study, out=out, data=data, methods=method or (), seeds=seeds, scale=scale)
    with output.working():
        studies = [load(part=name) for name in part or Study.parts(study) or (None,)]
    if dry_run:
        foresee(studies, jobs, output)
        return
    again = ["bench", str(study)]
    for each in method or ():
        again += ["--method", each]
    for each in part or ():
        again += ["--part", each]
    at_once = jobs if jobs > 1 else None
    for name, value in (("scale", scale), ("seeds", seeds), ("data", data), ("out", out), ("jobs", at_once)):
        again += [f"--{name}", str(value)] if value is not None else []
    conduct(studies, jobs, again, output)


def foresee(studies: list[Study], jobs: int, output: Output) -> None:
    """Show what studies would take. The list is empty afterwards: each has its data in memory.

    Args:
        studies: to foresee.
        jobs: processes that would run at the same time.
        output: what the command prints.
    """
    found: dict[str, Estimate] = {}
    with output.working():
        while studies:
            judged = studies.pop(0)
            one = found[judged.spec.name] = judged.estimate(jobs)
            show_estimate(one, terminal(), judged.spec.name)
            if studies or len(found) > 1:
                terminal().print(takes(one, jobs), soft_wrap=True, markup=False)
    several = [*found.values()]
    said = sum_of(several, jobs) if len(several) > 1 else takes(several[0], jobs)
    output.end(said, lambda: {"studies": {name: document(one) for name, one in found.items()}})


def conduct(studies: list[Study], jobs: int, again: list[str], output: Output) -> None:
    """Run studies and show what they found. The list is empty afterwards: each has its data in memory.

    Args:
        studies: to run, one after the other.
        jobs: processes that run at the same time.
        again: the arguments of the command that continues them after Ctrl-C.
        output: what the command prints.

    Raises:
        typer.Exit: with code 1 if a run failed; the studies after it are run. With 130 after Ctrl-C.
    """
    found, failed = [], False
    while studies:
        judged = studies.pop(0)
        with output.working():
            results, complete = _conduct(judged, jobs, again)
        found.append((judged.folder, results))
        failed |= not complete
        if not output.as_json:
            output.end(f"{table.in_words(results)} The folder is {judged.folder}.", dict)
    if output.as_json:
        said = " ".join(table.in_words(results) for _, results in found)
        documents = [{"folder": folder} | outputs.document(results) for folder, results in found]
        output.end(said, lambda: {"studies": documents})
    if failed:
        raise typer.Exit(1)


def _conduct(judged: Study, jobs: int, again: list[str]) -> tuple[Results, bool]:
    """Run a study and show its tables. Return what it found, and whether every run finished."""
    console = terminal()
    try:
        with StudyWatch(console, judged, jobs) as watch:
            results = judged.run(jobs, watch)
    except FailedRunsError as error:
        results = judged.results()
        _show(results, judged.folder, console)
        for job, reason in error.failures:
            typer.echo(f"failed: {job.named}: {said(reason)}", err=True)
        typer.echo("The same command repeats only these runs.", err=True)
        return results, False
    except KeyboardInterrupt:
        kept = f"{len(judged.plan.rows)} finished runs are kept in {judged.folder / 'rows.jsonl'}."
        how = shlex.join(["samplewise", *again])
        typer.echo(f"\ninterrupted. {kept} Continue with: {how}", err=True)
        raise typer.Exit(130) from None
    _show(results, judged.folder, console)
    return results, True


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
    files = ", ".join(str(path) for name in outputs.FILES if (path := folder / name).exists())
    console.print(f"\nFiles: {files}", soft_wrap=True, markup=False)
