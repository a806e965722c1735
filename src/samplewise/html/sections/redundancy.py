"""Redundancy: how alike samples are to their nearest neighbour, and the pairs that are most alike."""

from collections.abc import Iterator

import numpy as np

from samplewise.html.blocks import NO_RUN, Block, Chart, Gallery, Heading, Item, Numbers, Section, Words
from samplewise.html.charts import bars
from samplewise.html.facts import Facts, Picture, Run
from samplewise.html.neighbours import Redundancy, redundancy
from samplewise.html.sections.text import percent

__all__ = ["section"]

_LIMITS = (0.999, 0.99, 0.95)


def section(facts: Facts) -> Section:
    """The neighbours of every run that has features; the same features are measured once."""
    return Section("redundancy", "Redundancy", list(_blocks(facts)) or [NO_RUN])


def _blocks(facts: Facts) -> Iterator[Block]:
    known: dict[int, str] = {}
    for run in facts.runs:
        if run.features is None or id(run.features) in known:
            continue
        known[id(run.features)] = run.name
        if len(facts.runs) > 1:
            yield Heading(run.name)
        yield from _of_run(run, redundancy(run.features))
    if facts.runs and not known:
        why = next((run.lacks["features"] for run in facts.runs if "features" in run.lacks), "")
        yield Words(why or "No features are known, so nearest neighbours cannot be found.", "note")


def _of_run(run: Run, found: Redundancy) -> Iterator[Block]:
    shares = [
        (percent(float((found.alike >= limit).mean())), f"have a neighbour with similarity >= {limit}")
        for limit in _LIMITS
    ]
    yield Numbers(shares)
    counts, edges = np.histogram(found.alike, 40)
    values = [
        {"low": float(low), "high": float(high), "y": int(count)}
        for low, high, count in zip(edges, edges[1:], counts, strict=False)
    ]
    said = (
        f"Cosine similarity of {found.asked:,} drawn samples to their nearest neighbour among "
        f"{found.pool:,}. Copies are at 1."
    )
    yield Chart(bars(values, "similarity to the nearest neighbour", "samples"), said)
    ids = [i for one, other, _ in found.pairs for i in (one, other)]
    pictures: list[Picture | None] = [*run.show(ids)] if run.show is not None else [None] * len(ids)
    alike = [value for *_, value in found.pairs for _ in range(2)]
    items = [
        Item(picture, [f"id {i}", f"pair {place // 2 + 1}, similarity {value:.4f}"])
        for place, (i, picture, value) in enumerate(zip(ids, pictures, alike, strict=True))
    ]
    yield Gallery("Most alike", "Pairs of the drawn samples, side by side.", items)
