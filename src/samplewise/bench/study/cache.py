"""`Rows`: the finished runs of a study, one JSON line each. The file is the cache."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from samplewise.bench.study.jobs import Job, canonical

__all__ = ["Row", "Rows"]

Row = dict[str, Any]
_FIELDS = ("key", "task", "method", "epochs", "seed", "lr", "n", "cost", "seconds", "test", "validation")


class Rows:
    """The rows of a study by their keys.

    A row is appended when its run has finished. A kill can leave an unfinished last line, which is not
    read, and goes when the next row is added.

    Args:
        path: of the JSON-lines file. It need not exist.
        task: the digest of the study's task. Rows of another task are refused.

    Raises:
        ValueError: if a line is damaged, or a row is of another task or has another key than its fields give.
    """

    def __init__(self, path: Path, task: str) -> None:
        self.path, self.task = path, task
        self._rows: dict[str, Row] = {}
        self.stale = 0
        """Rows of earlier versions of a method's choices. They are not used."""
        for number, line in enumerate(self._whole().splitlines(), 1):
            self._take(line, f"{path}, line {number}")

    def _whole(self) -> bytes:
        """The content up to the end of the last whole line."""
        content = self.path.read_bytes() if self.path.exists() else b""
        return content[: content.rfind(b"\n") + 1]

    def _take(self, line: bytes, where: str) -> None:
        try:
            row: Row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where} is damaged: {error}. Remove the line.") from error
        if not isinstance(row, dict):
            raise ValueError(f"{where} is damaged: it must be a JSON object. Remove the line.")
        if missing := [name for name in _FIELDS if name not in row]:
            raise ValueError(f"{where} is damaged: it has no {missing[0]!r}.")
        if row["task"] != self.task:
            raise ValueError(
                f"{where} is of task {row['task']}, but this study is task {self.task}: data or settings "
                "differ. Rows of two tasks are not mixed. Restore the study's settings, or choose another "
                "--out."
            )
        try:
            job = Job(row["method"], row["epochs"], row["seed"], row["lr"])
            version = canonical(job.method)[1]
        except ValueError:
            # The method is not known here, or its file lies elsewhere. Then its key finds it all the same.
            self._rows[row["key"]] = row
            return
        if row.get("version", version) != version:
            self.stale += 1
            return
        if job.key(self.task) != row["key"]:
            raise ValueError(
                f"{where} is damaged: its key must be {job.key(self.task)} for {job.method}, {job.epochs} "
                f"epochs, seed {job.seed}, got {row['key']}. Remove the line."
            )
        self._rows[row["key"]] = row

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())

    def get(self, job: Job) -> Row | None:
        """The row of a job, or None if it has not finished."""
        return self._rows.get(job.key(self.task))

    def add(self, job: Job, found: Row) -> Row:
        """Append the row of a finished job. It is on disk when this returns."""
        key = job.key(self.task)
        named = {"key": key, "task": self.task, "version": canonical(job.method)[1]}
        row = named | {"method": job.method, "epochs": job.epochs, "seed": job.seed, "lr": job.lr} | found
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = (json.dumps(row) + "\n").encode()
        whole = len(self._whole())
        with self.path.open("ab") as file:
            if file.tell() > whole:  # a kill left a part of a line
                file.truncate(whole)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        # What was read from the file and what is new are the same objects of JSON.
        self._rows[key] = json.loads(line)
        return self._rows[key]
