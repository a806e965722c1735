"""The plan over time: the share that trains in each epoch, by class, and the shares of groups."""

from collections.abc import Iterator

from samplewise.html.blocks import NO_RUN, Block, Chart, Section, Words
from samplewise.html.charts import heat, lines
from samplewise.html.facts import Facts, Run
from samplewise.html.plan import CLASSES, Kept, group_shares, kept_by_class
from samplewise.html.sections.runs import of_runs

__all__ = ["section"]


def section(facts: Facts) -> Section:
    """What trained when, for every run."""
    return Section("plan", "The plan over time", list(_blocks(facts)) or [NO_RUN])


def _blocks(facts: Facts) -> Iterator[Block]:
    trained = [
        {"name": run.name, "x": epoch, "y": 100 * share}
        for run in facts.runs
        for epoch, share in enumerate(run.trained, 1)
    ]
    if trained:
        said = "Samples that were back-propagated in each epoch, in percent of the data set."
        yield Chart(lines(trained, "epoch", "trained, %", epochs=True), said)
    yield from of_runs(facts.runs, _of_run)


def _of_run(run: Run) -> Iterator[Block]:
    kept = kept_by_class(run)
    if kept is None:
        why = run.lacks.get("history") or (
            "This run kept no history of its selections, so the shares of classes are not known. Train with "
            "--history, or Selector(history=True)."
        )
        yield Words(why, "note")
    else:
        yield from _by_class(run, kept)
    shares = group_shares(run.table.provenance.get("selections", ()) if run.table is not None else ())
    if shares:
        values = [
            {"name": name, "x": epoch, "y": 100 * share}
            for name, found in shares.items()
            for epoch, share in found
        ]
        said = "The share of each group in every selection."
        yield Chart(lines(values, "epoch of the selection", "share of the group, %", epochs=True), said)


def _by_class(run: Run, kept: Kept) -> Iterator[Block]:
    values = [
        {"name": "all", "x": epoch, "value": 100 * float(share)}
        for epoch, share in zip(kept.epochs, kept.all, strict=True)
    ]
    names = [run.class_name(label) for label in kept.classes]
    for column, name in enumerate(names):
        values += [
            {"name": name, "x": epoch, "value": 100 * float(kept.by_class[row, column])}
            for row, epoch in enumerate(kept.epochs)
        ]
    said = "The share of each class that a selection kept, by the epoch in which it was made."
    if kept.known > len(kept.classes):
        half = CLASSES // 2
        said += f" Of {kept.known:,} classes the {half} that were kept least and the {half} kept most."
    if kept.made > len(kept.epochs):
        said += f" Of {kept.made:,} selections {len(kept.epochs)} are shown."
    if not names:
        said += " No labels are known, so there are no classes."
    yield Chart(heat(values, "epoch of the selection", "class", "kept, %", ["all", *names]), said)
