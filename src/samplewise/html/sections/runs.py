"""The runs of a report one after the other, each under its name if there are several."""

from collections.abc import Callable, Iterable, Iterator

from samplewise.coresets.table import ScoreTable
from samplewise.html.blocks import Block, Heading, Words
from samplewise.html.facts import Run

__all__ = ["of_runs", "of_tables"]


def of_runs(runs: Iterable[Run], blocks: Callable[[Run], Iterable[Block]]) -> Iterator[Block]:
    """The blocks of every run.

    Args:
        runs: what is shown.
        blocks: makes the blocks of one run.
    """
    several = len(runs := [*runs]) > 1
    for run in runs:
        if several:
            yield Heading(run.name)
        yield from blocks(run)


def of_tables(runs: Iterable[Run], blocks: Callable[[Run, ScoreTable], Iterable[Block]]) -> Iterator[Block]:
    """The blocks of every run that has scores. The others say that they have none.

    Args:
        runs: what is shown.
        blocks: makes the blocks of one run from its table, which has samples.
    """

    def of_run(run: Run) -> Iterable[Block]:
        if run.table is None or not len(run.table):
            return [Words(run.lacks.get("table", "This run has no table of scores."), "note")]
        return blocks(run, run.table)

    return of_runs(runs, of_run)
