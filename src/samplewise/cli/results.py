"""The end of `samplewise train`: the table in the terminal, the pictures and the table on disk."""

from pathlib import Path

from rich.console import Console

from samplewise.bench import methods
from samplewise.bench.altered import described
from samplewise.bench.folder import RunFolder
from samplewise.report import keep, pictures, table
from samplewise.report.measure import ACCURACY, PEARSON
from samplewise.report.summary import summarise


def show(path: Path, console: Console) -> None:
    """Summarise a finished experiment."""
    folder = RunFolder(path)
    config, settings = folder.config(), folder.settings()
    order = list(settings.names)
    about = config["data"]
    numbers = about.get("metric", "accuracy") != "accuracy"
    measure, what = PEARSON if numbers else ACCURACY, "texts" if "texts" in about else "images"
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
    console.print(table.terminal(summaries, title, measure))
    for note in notes:
        console.print(note, style="dim", soft_wrap=True)
    console.print(f"\nPictures: {', '.join(map(str, drawn))}", soft_wrap=True, markup=False)
