"""`samplewise train --controls`: the methods of the command as a study."""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from samplewise.bench.folder import RunFolder
from samplewise.bench.settings import Settings
from samplewise.bench.study.study import Study
from samplewise.bench.study.writing import study_file
from samplewise.cli.bench import conduct
from samplewise.cli.output import Output
from samplewise.files.atomic import replacing

__all__ = ["is_controlled", "judge", "study_of"]

_FILE = "study.toml"


def is_controlled(folder: Path | None) -> bool:
    """Whether a run folder was started with --controls."""
    return folder is not None and (folder / _FILE).is_file()


def judge(
    settings: Settings,
    given: dict[str, Any],
    folder: Path,
    resume: bool,
    save_models: bool,
    output: Output,
) -> None:
    """Write a study file into the run folder, and run it. With `resume`, continue the one that is there.

    Args:
        settings: of the command.
        given: what the user wrote. To resume, it must equal what the study was started with.
        folder: the run folder.
        resume: whether the folder may exist.
        save_models: whether the model of every run is kept.
        output: what the command prints.

    Raises:
        ValueError: if the folder cannot be used, or the settings make no study.
    """
    again = ["train", "--out", str(folder), "--resume", *["--save-model"] * save_models]
    with output.working():
        study = _of_folder(settings, given, folder, resume, save_models, _begun)
    conduct([study], 1, again, output)


def study_of(settings: Settings, given: dict[str, Any], folder: Path, resume: bool) -> Study:
    """The study that `judge` would run. Nothing is written. The arguments are those of `judge`."""
    return _of_folder(settings, given, folder, resume, False, _outside)


def _of_folder(
    settings: Settings,
    given: dict[str, Any],
    folder: Path,
    resume: bool,
    save_models: bool,
    begin: Callable[[Path, str, bool], Study],
) -> Study:
    """The study of a folder; `begin` makes the one of a new folder from its file, its text and the models."""
    if settings.history:
        raise ValueError(
            "--history needs tables of scores, but --controls writes none. Leave out one of them."
        )
    if settings.gate:
        raise ValueError(
            "--gate decides by the clock, and --controls repeats runs exactly. Leave out one of them."
        )
    if settings.groups is not None:
        raise ValueError(
            "--groups divides the budget of single trainings, but --controls makes a study, whose controls "
            "have no groups. Leave out one of them."
        )
    file = folder / _FILE
    if not is_controlled(folder):
        if RunFolder(folder).begun:
            raise ValueError(f"{folder} was started without --controls. Choose another --out.")
        return begin(file, study_file(settings, given), save_models)
    if not resume:
        raise ValueError(f"{folder} exists. Add --resume to continue it, or choose another --out.")
    study = Study.load(file, out=folder, save_models=save_models)
    _refuse_others(study, given, folder)
    return study


def _outside(file: Path, text: str, save_models: bool) -> Study:
    """The study of a file that is written nowhere but in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / file.name
        copy.write_text(text)
        return Study.load(copy, out=file.parent, save_models=save_models)


def _begun(file: Path, text: str, save_models: bool) -> Study:
    """The study of a new file. The file stays only if the study can be."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as written:
        written.write(text.encode())
    try:
        return Study.load(file, out=file.parent, save_models=save_models)
    except BaseException:
        file.unlink()
        with suppress(OSError):  # the folder held other files before
            file.parent.rmdir()
        raise


def _refuse_others(study: Study, given: dict[str, Any], folder: Path) -> None:
    """Raise if what the user wrote differs from what the study was started with."""
    spec, mine = study.spec, dict(given)
    if "method" in mine:
        mine["method"] = tuple(method for method in mine["method"] if method != "full")
    stored = {"method": spec.methods, "epochs": spec.epochs, "seeds": spec.seeds}
    settings = vars(study.settings) | stored
    differing = [
        f"{key} was {settings[key]!r}, now {value!r}" for key, value in mine.items() if settings[key] != value
    ]
    if differing:
        raise ValueError(
            f"{folder} was started with other settings: {'; '.join(differing)}. Use the same settings to "
            "resume, or choose another --out."
        )
