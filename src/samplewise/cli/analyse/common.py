"""What all sub-commands of `samplewise analyse` share: the tables they read, the files they write."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from samplewise.bench.files import plain
from samplewise.bench.folder import RunFolder, next_folder
from samplewise.bench.lock import folder_alone, free_folder_alone
from samplewise.checks import nearest
from samplewise.cli.console import terminal
from samplewise.coresets.table import ScoreTable
from samplewise.files.atomic import replacing

ROOT = Path("runs")

Sources = Annotated[
    list[Path], typer.Argument(help="Score tables (Parquet) and run folders of `samplewise train`.")
]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--method", help="Of run folders: the runs of this method. Repeat the option.", show_default="all"
    ),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="The folder to write.", show_default="a new runs/COMMAND-N"),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is in the folder.")]


@dataclass(frozen=True)
class Source:
    """A score table, and where it comes from.

    Attributes:
        method: the method of the run, or the name of the file.
        seed: the seed of the run; None for a file that is not in a run folder.
        table: what was recorded.
        path: the file.
    """

    method: str
    seed: int | None
    table: ScoreTable
    path: Path

    @property
    def name(self) -> str:
        """For headings: the method, and the seed if there is one."""
        return self.method if self.seed is None else f"{self.method}, seed {self.seed}"


def read_sources(paths: Sequence[Path], methods: Sequence[str] | None = None) -> list[Source]:
    """The tables of files and run folders, in the order given; of a folder those of finished runs.

    Args:
        paths: Parquet files of scores, and run folders.
        methods: of run folders only these methods; None: all.

    Raises:
        ValueError: if a path is neither, or a folder has no table of a method.
    """
    files = {path: list(_finished(path)) for path in paths if path.is_dir()}
    runs = sorted({method for finished in files.values() for method, _, _ in finished})
    for method in methods or ():
        if not files:
            raise ValueError(f"--method {method} chooses runs, but no run folder is given. Leave it out.")
        if method not in runs:
            raise ValueError(
                f"--method {method}: no folder given has a score table of it.{nearest(method, runs)} They "
                f"have {', '.join(runs)}. Leave out --method to take all runs."
            )
    return [source for path in paths for source in _sources(path, files.get(path), methods)]


def _sources(
    path: Path, finished: Sequence[tuple[str, int, Path]] | None, methods: Sequence[str] | None
) -> Iterator[Source]:
    if finished is None:
        yield Source(path.stem, None, ScoreTable.read(path), path)
    for method, seed, file in finished or ():
        if not methods or method in methods:
            yield Source(method, seed, ScoreTable.read(file), file)


def _finished(path: Path) -> Iterator[tuple[str, int, Path]]:
    """Method, seed and score table of the finished runs of a folder."""
    folder, any_one = RunFolder(path), False
    for row in folder.results():
        file = folder.scores(row["method"], row["seed"])
        if file.exists():
            any_one = True
            yield row["method"], row["seed"], file
    if not any_one:
        raise ValueError(
            f"{path} has no score table of a finished run. Give a folder in which `samplewise train` "
            "finished a run of a method that has scores."
        )


def stems(found: Sequence[Source]) -> list[str]:
    """A name for each table in the names of files, all different."""
    named = [source.path.stem.removeprefix("scores-") for source in found]
    return [stem if named.count(stem) == 1 else f"{i}-{stem}" for i, stem in enumerate(named)]


@contextmanager
def folder_for(command: str, out: Path | None, force: bool, files: Sequence[str]) -> Iterator[Path]:
    """The folder that a sub-command writes `files` into, locked. Refuses to overwrite without --force."""
    free = free_folder_alone(lambda: next_folder(ROOT, command))
    with free if out is None else folder_alone(out) as folder:
        existing = [name for name in files if (folder / name).exists()]
        if existing and not force:
            raise ValueError(
                f"{folder / existing[0]} exists: add --force to overwrite it, or choose another --out"
            )
        yield folder


def show(tables: Iterable[Any], said: str, files: Iterable[Path]) -> None:
    """Print tables, what they say in a sentence, and the files that were written."""
    console = terminal()
    for drawn in tables:
        console.print(drawn)
        console.print()
    console.print(said, style="bold", soft_wrap=True, markup=False)
    console.print(f"Files: {', '.join(map(str, files))}", soft_wrap=True, markup=False)


def write_json(file: Path, content: Any) -> None:
    """Write plain values. Numbers that are not finite become null: JSON has none."""
    with replacing(file) as opened:
        opened.write((json.dumps(plain(content), indent=1) + "\n").encode())
