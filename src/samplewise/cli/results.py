"""The end of `samplewise train`: the table in the terminal, the pictures and the table on disk."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from samplewise.bench import methods
from samplewise.bench.altered import described
from samplewise.bench.folder import RunFolder, plain
from samplewise.report import keep, pictures, table
from samplewise.report.measure import measure_of
from samplewise.report.summary import summarise


def show(path: Path, console: Console) -> tuple[str, Mapping[str, Any]]:
    """Summarise a finished experiment. Return what it found, in a sentence and as a document."""
    folder = RunFolder(path)
    config, settings = folder.config(), folder.settings()
    order = list(settings.names)
    about = config["data"]
    measure, what = measure_of(about.get("metric", "accuracy")), "texts" if "texts" in about else "images"
    summaries = summarise(folder.results(), order, measure)
    title = f"{about['name']}: {about['train']:,} {what}, {settings.model}{described(settings)}"
    machine = f"{config['machine']['cpu']}, {settings.device}"
    drawn = pictures.draw(folder.results(), folder.curves(), order, title, path, machine, measure)
    keeps, file = methods.by_keep(settings.method), path / "accuracy-keep.png"
    by_keep = keep.draw(folder.results(), keeps, title, file, measure)
    drawn += [] if by_keep is None else [by_keep]
    notes = table.notes(summaries)
    if settings.batch_size > about["train"]:
        notes.append(
            f"Every batch has all {about['train']:,} {what}: --batch-size {settings.batch_size} is more."
        )
    lines = [f"# {title}", "", table.markdown(summaries, measure), *notes, ""]
    (path / "table.md").write_text("\n".join(lines))
    console.print()
    for part in table.terminal(summaries, title, measure, console.width):
        console.print(part)
        console.print()
    for note in notes:
        console.print(note, style="dim", soft_wrap=True)
    console.print(f"\nPictures: {', '.join(map(str, drawn))}", soft_wrap=True, markup=False)
    found = {
        "folder": path,
        "data": about,
        "settings": plain(settings),
        "summary": [asdict(summary) for summary in summaries],
        "results": folder.results(),
        "notes": notes,
        "pictures": drawn,
    }
    return table.in_words(summaries, measure), found
