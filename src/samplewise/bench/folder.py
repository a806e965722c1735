"""`RunFolder`: the files of one experiment, and the checks when they are read again."""

import hashlib
import json
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from samplewise.bench import files
from samplewise.bench.lock import LOCK
from samplewise.bench.rows import (
    AnyEpoch,
    ConfigData,
    EpochRow,
    LanguageEpochRow,
    LanguageResultRow,
    NumbersEpochRow,
    NumbersResultRow,
    ResultRow,
    ScoringRow,
    check_rows,
)
from samplewise.bench.settings import ADDED, NAMES, Settings
from samplewise.files.atomic import is_partial

SCORING = "scoring"
_FORMAT = "samplewise run 2"
_LONGEST = 120  # characters of a method in a file name; file systems allow 255 bytes for the whole name


class RunFolder:
    """One experiment on disk.

    - `config.json`: settings, data and versions.
    - `results.jsonl`: one line for each finished run. `curves.jsonl`: one line for each tested epoch of it.
    - `scores-METHOD-SEED.parquet`: the scores of a finished run.
    - `checkpoint-METHOD-SEED.pt`: the state of an unfinished run, which has no line in the other files.
    - `log-METHOD-SEED.csv`: the numbers of every epoch of a run, with `--log csv`.
    - `model-METHOD-SEED.pt`: the trained model of a finished run, with `--save-model`.
    - `scoring.jsonl`: one line for each seed whose scoring run is finished. `scores-scoring-SEED.parquet` is
      its table, `subset-METHOD-SEED.parquet` the coreset of each method.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.json"
        self.results_file = path / "results.jsonl"
        self.curves_file = path / "curves.jsonl"
        self.scoring_file = path / "scoring.jsonl"

    @property
    def begun(self) -> bool:
        """Whether the folder has files. A lock file and partial files of a killed command do not count."""
        if not self.path.exists():
            return False
        if not self.path.is_dir():
            raise ValueError(f"{self.path} must be a run folder, but it is a file")
        return any(not is_partial(entry) and entry.name != LOCK for entry in self.path.iterdir())

    def tidy(self) -> None:
        """Remove the partial files of a killed command. Call it only while holding the folder's lock."""
        for entry in self.path.iterdir() if self.path.is_dir() else ():
            if is_partial(entry):
                entry.unlink(missing_ok=True)

    def create(self, config: dict[str, Any]) -> None:
        """Start an experiment in a folder that does not exist or is empty."""
        self.path.mkdir(parents=True, exist_ok=True)
        files.write_json(self.config_file, {"format": _FORMAT} | config)

    def config(self) -> dict[str, Any]:
        """Read the configuration. Raise if this is not a run folder, or if it is damaged."""
        if not self.config_file.is_file():
            raise ValueError(f"{self.path} is not a run folder: it has no config.json.")
        try:
            config: dict[str, Any] = json.loads(self.config_file.read_text())
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{self.config_file} is damaged: {error}") from error
        if not isinstance(config, dict) or config.get("format") != _FORMAT:
            raise ValueError(
                f"{self.path} is not a run folder of this version: the format in its config.json must be "
                f"{_FORMAT!r}."
            )
        data = config.get("data")
        check_rows(self.config_file, ConfigData, [data if isinstance(data, dict) else {}], ())
        return config

    def settings(self) -> Settings:
        """The settings that this experiment was started with."""
        stored = self.config().get("settings")
        if not isinstance(stored, dict) or not {*NAMES} - ADDED <= {*stored} <= {*NAMES}:
            raise ValueError(
                f"{self.config_file} is damaged: its settings must hold exactly {', '.join(NAMES)}"
            )
        try:
            settings = Settings(**stored)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{self.config_file} is damaged: {error}") from error
        if changed := [name for name, value in plain(settings).items() if value != stored.get(name, value)]:
            raise ValueError(
                f"{self.config_file} is damaged: {changed[0]} must not be {stored[changed[0]]!r}"
            )
        return settings

    def results(self) -> list[dict[str, Any]]:
        """One row for each finished run."""
        rows = files.read_lines(self.results_file)
        check_rows(self.results_file, self._kinds(rows)[1], rows, ("method", "seed"))
        self._refuse_others(self.results_file, rows)
        n = self.config()["data"]["train"] if rows else 0
        for row in rows:
            where = f"{self.results_file} is damaged: {row['method']}, seed {row['seed']}"
            if row["epoch"] < row["epochs"]:
                raise ValueError(f"{where} ends after epoch {row['epoch']} of {row['epochs']}")
            if row["n"] != n:
                raise ValueError(f"{where} has n = {row['n']} samples, but config.json has {n}")
        return rows

    def curves(self) -> list[dict[str, Any]]:
        """One row for each epoch after which a finished run was tested."""
        rows = files.read_lines(self.curves_file)
        check_rows(self.curves_file, self._kinds(rows)[0], rows, ("method", "seed", "epoch"))
        self._refuse_others(self.curves_file, rows)
        ends = {(row["method"], row["seed"]) for row in rows if row["epoch"] == row["epochs"]}
        for row in self.results():
            if (row["method"], row["seed"]) not in ends:
                raise ValueError(
                    f"{self.curves_file} is damaged: the last epoch of {row['method']}, seed {row['seed']} "
                    "is missing"
                )
        return rows

    def _kinds(self, rows: list[dict[str, Any]]) -> tuple[type[AnyEpoch], type[AnyEpoch]]:
        """The schemas of a line of `curves.jsonl` and of `results.jsonl`."""
        metric = self.config()["data"].get("metric", "accuracy") if rows else "accuracy"
        if metric == "loss":
            return LanguageEpochRow, LanguageResultRow
        return (EpochRow, ResultRow) if metric == "accuracy" else (NumbersEpochRow, NumbersResultRow)

    def _refuse_others(self, file: Path, rows: list[dict[str, Any]]) -> None:
        settings = self.settings()
        for row in rows:
            if row["epoch"] > row["epochs"]:
                raise ValueError(
                    f"{file} is damaged: a row of {row['method']}, seed {row['seed']} has epoch "
                    f"{row['epoch']}, but the run has {row['epochs']} epochs"
                )
            if row["method"] not in settings.names or row["seed"] >= settings.seeds:
                raise ValueError(
                    f"{file} is damaged: it has a row of {row['method']}, seed {row['seed']}, but "
                    "config.json has no such run"
                )

    def finish(self, result: dict[str, Any], curve: list[dict[str, Any]]) -> None:
        """Record a finished run. Its result is written last: until then the run counts as unfinished."""
        key = (result["method"], result["seed"])
        others = [row for row in self.curves() if (row["method"], row["seed"]) != key]
        files.write_lines(self.curves_file, others + curve)
        files.write_lines(self.results_file, [*self.results(), result])
        self.checkpoint(*key).unlink(missing_ok=True)

    def scorings(self) -> dict[int, dict[str, Any]]:
        """The rows of finished scoring runs, by seed: their cost, in total and for each method."""
        rows = files.read_lines(self.scoring_file)
        check_rows(self.scoring_file, ScoringRow, rows, ("seed",))
        for row in rows:
            if not isinstance(row.get("methods"), dict):
                raise ValueError(f"{self.scoring_file} is damaged: a row has no mapping 'methods'")
        return {row["seed"]: row for row in rows}

    def finish_scoring(self, row: dict[str, Any]) -> None:
        """Record a finished scoring run. Its table and subsets must already be on disk."""
        files.write_lines(self.scoring_file, [*self.scorings().values(), row])
        self.checkpoint(SCORING, row["seed"]).unlink(missing_ok=True)

    def checkpoint(self, method: str, seed: int) -> Path:
        """Path of the checkpoint of an unfinished run."""
        return self.path / f"checkpoint-{_file_word(method)}-{seed}.pt"

    def scores(self, method: str, seed: int) -> Path:
        """Path of the score table of a finished run."""
        return self.path / f"scores-{_file_word(method)}-{seed}.parquet"

    def log(self, method: str, seed: int) -> Path:
        """Path of the log of a run, without its suffix."""
        return self.path / f"log-{_file_word(method)}-{seed}"

    def model(self, method: str, seed: int) -> Path:
        """Path of the trained model of a finished run, if models are kept."""
        return self.path / f"model-{_file_word(method)}-{seed}.pt"

    def subset(self, method: str, seed: int) -> Path:
        """Path of the coreset of a static method."""
        return self.path / f"subset-{_file_word(method)}-{seed}.parquet"


def next_folder(root: Path, name: str) -> Path:
    """The path `NAME-N` under `root`, where N is one more than the highest number there."""
    return root / f"{name}-{max(_numbers(root, name), default=0) + 1}"


def latest_folder(root: Path, name: str) -> Path | None:
    """The `NAME-N` under `root` with the highest number."""
    numbers = _numbers(root, name)
    return root / f"{name}-{max(numbers)}" if numbers else None


def plain(settings: Settings) -> dict[str, Any]:
    """The settings as they are after a round trip through JSON."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(settings)))
    return values


def _numbers(root: Path, name: str) -> list[int]:
    found = (re.fullmatch(rf"{re.escape(name)}-(\d+)", path.name) for path in root.glob("*-*"))
    return [int(match[1]) for match in found if match]


def _file_word(method: str) -> str:
    """Turn a method such as `ucb:keep=0.3,period=5` into a part of a file name, valid on every system.

    Different methods get different names.

    >>> _file_word("ucb:keep=0.3,period=5")
    'ucb_keep=0.3,period=5'
    >>> _file_word("rho_loss:irreducible=a/il.parquet")
    'rho_loss_irreducible=a_il.parquet-3123215b'
    """
    word = re.sub(r"[^\w.=,+@-]", "_", method, flags=re.ASCII)
    if word == method.replace(":", "_", 1) and len(word) <= _LONGEST:
        return word
    return f"{word[:_LONGEST]}-{hashlib.sha256(os.fsencode(method)).hexdigest()[:8]}"
