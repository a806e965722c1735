"""The hardest, never used and suspected mislabelled samples, as pictures, text or rows."""

from collections.abc import Iterator

from samplewise.coresets.table import ScoreTable
from samplewise.html.blocks import NO_RUN, Block, Gallery, Item, Section, Words
from samplewise.html.facts import Facts, Picture, Run
from samplewise.html.picks import Pick, picks
from samplewise.html.sections.runs import of_tables
from samplewise.html.sections.text import number

__all__ = ["section"]


def section(facts: Facts) -> Section:
    """The samples of every run that a reader may want to see."""
    return Section("samples", "Samples to look at", [*of_tables(facts.runs, _of_table)] or [NO_RUN])


def _of_table(run: Run, table: ScoreTable) -> Iterator[Block]:
    if run.show is None:
        why = run.lacks.get("samples", "The samples are not known, so only their ids are here.")
        yield Words(why, "note")
    for pick in picks(table, run.predicts):
        yield _gallery(run, table, pick)
    if table.labels is None:
        yield Words("No labels are known, so none is suspected.", "note")
    elif not run.predicts:
        yield Words("The model does not predict the classes, so none is suspected.", "note")


def _gallery(run: Run, table: ScoreTable, pick: Pick) -> Gallery:
    ids = [int(table.ids[i]) for i in pick.at]
    pictures: list[Picture | None] = [*run.show(ids)] if run.show is not None else [None] * len(ids)
    items = []
    for place, (at, sample, picture) in enumerate(zip(pick.at, ids, pictures, strict=True)):
        lines = [f"id {sample}"]
        if table.labels is not None:
            lines.append(run.class_name(int(table.labels[int(at)])))
        if pick.values:
            lines.append(f"{pick.name} {number(pick.values[place])}")
        items.append(Item(picture, lines))
    return Gallery(pick.title, pick.said, items)
