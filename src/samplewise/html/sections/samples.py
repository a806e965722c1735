"""The hardest, never used and suspected mislabelled samples, as pictures, text or rows."""

from collections.abc import Iterator

from samplewise.html.blocks import NO_RUN, Block, Gallery, Heading, Item, Section, Words
from samplewise.html.facts import Facts, Picture, Run
from samplewise.html.picks import Pick, picks
from samplewise.html.sections.text import number

__all__ = ["section"]


def section(facts: Facts) -> Section:
    """The samples of every run that a reader may want to see."""
    return Section("samples", "Samples to look at", list(_blocks(facts)) or [NO_RUN])


def _blocks(facts: Facts) -> Iterator[Block]:
    for run in facts.runs:
        if len(facts.runs) > 1:
            yield Heading(run.name)
        if run.table is None or not len(run.table):
            yield Words(run.lacks.get("table", "This run has no table of scores."), "note")
            continue
        if run.show is None:
            why = run.lacks.get("samples", "The samples are not known, so only their ids are here.")
            yield Words(why, "note")
        for pick in picks(run.table):
            yield _gallery(run, pick)
        if run.table.labels is None:
            yield Words("No labels are known, so none is suspected.", "note")


def _gallery(run: Run, pick: Pick) -> Gallery:
    table = run.table
    if table is None:
        raise ValueError("a run without a table has no samples to show.")
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
