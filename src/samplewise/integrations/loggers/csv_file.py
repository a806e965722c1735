"""`CsvLogger`: a CSV file with a row for every epoch."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from samplewise.files.atomic import replacing

__all__ = ["CsvLogger"]


class CsvLogger:
    """Writes a row for every epoch, with the column `epoch` first. Needs no further package.

    The file is replaced as a whole after every epoch, so it is complete at any time. Rows of an earlier run
    with the same epoch, or a later one, are left out: a resumed training continues the file.

    Args:
        path: of the file.

    Raises:
        ValueError: when it logs, if the file exists and is no such log.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Write the row of an epoch."""
        rows = [row for row in self._rows() if int(row["epoch"]) < epoch]
        rows.append({"epoch": str(epoch)} | {name: repr(float(value)) for name, value in values.items()})
        names = dict.fromkeys(name for row in rows for name in row)
        text = io.StringIO()
        writer = csv.DictWriter(text, list(names), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as file:
            file.write(text.getvalue().encode())

    def close(self) -> None:
        """Nothing is left to write."""

    def _rows(self) -> list[dict[str, str]]:
        if not self.path.exists():
            return []
        with self.path.open(newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
        if (reader.fieldnames or [""])[0] != "epoch" or not all(row["epoch"].isdecimal() for row in rows):
            raise ValueError(f"{self.path} is no log of epochs. Choose another file, or remove it.")
        return rows
