"""`--log`: the loggers of every run of `samplewise train`, in its run folder."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from samplewise.bench.folder import RunFolder
from samplewise.checks import nearest
from samplewise.integrations.loggers import (
    CsvLogger,
    EpochLogger,
    MlflowLogger,
    TensorBoardLogger,
    WandbLogger,
)

__all__ = ["KINDS", "Loggers", "loggers_in"]

KINDS = ("csv", "tensorboard", "wandb", "mlflow")
Loggers = Callable[[str, int], tuple[EpochLogger, ...]]
"""The loggers of a run, by its method and its seed."""


def loggers_in(folder: RunFolder, wanted: Sequence[str]) -> Loggers:
    """What makes the loggers of the runs of a folder.

    - `csv`: `log-METHOD-SEED.csv`.
    - `tensorboard`: events in `tensorboard/METHOD-SEED`.
    - `wandb`: a run in the project that is named after the folder, with its files in the folder.
    - `mlflow`: a run in the experiment that is named after the folder, in the store that
      `MLFLOW_TRACKING_URI` names, or else in `mlflow.db` in the folder.

    Args:
        folder: of the experiment.
        wanted: some of `KINDS`.

    Raises:
        ValueError: for another kind.
        ImportError: if a package is not installed.
    """

    def made(kind: str, method: str, seed: int) -> EpochLogger:
        path = folder.log(method, seed)
        name, project = path.name.removeprefix("log-"), folder.path.absolute().name
        if kind == "csv":
            return CsvLogger(path.with_name(f"{path.name}.csv"))
        if kind == "tensorboard":
            return TensorBoardLogger(folder.path / "tensorboard" / name)
        if kind == "wandb":
            return WandbLogger(project, name, folder.path)
        return MlflowLogger(_store(folder.path), project, name)

    for kind in wanted:
        if kind not in KINDS:
            raise ValueError(
                f"--log must be one of {', '.join(KINDS)}, got {kind!r:.80}.{nearest(kind, KINDS)}"
            )
        made(kind, "full", 0)  # a package that is missing raises before any run

    return lambda method, seed: tuple(made(kind, method, seed) for kind in dict.fromkeys(wanted))


def _store(folder: Path) -> str | None:
    """The store of MLflow; None: the one that the environment names."""
    return None if os.environ.get("MLFLOW_TRACKING_URI") else f"sqlite:///{folder.absolute() / 'mlflow.db'}"
