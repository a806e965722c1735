"""A study that is killed in the middle and continued has the rows of one that was not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from samplewise.bench import Study

CODE = """
import sys
from samplewise.bench import Study
if __name__ == "__main__":
    Study.load(sys.argv[1], out=sys.argv[2]).run(jobs=int(sys.argv[3]))
"""
TIMES = ("seconds", "seconds_without_scoring", "wall", "overhead", "machine")


def without_times(folder: Path) -> dict[str, Any]:
    """The rows by their keys, without what a clock measured."""
    found = {}
    for line in (folder / "rows.jsonl").read_text().splitlines():
        row = json.loads(line)
        row = {key: value for key, value in row.items() if key not in TIMES}
        row["curve"] = [[*point[:2], *point[3:]] for point in row["curve"]]
        del row["best"]["seconds"]
        found[row["key"]] = row
    return found


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads the children of a process in /proc")
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_killed_study_continues(tmp_path: Path, jobs: int) -> None:
    (tmp_path / "run.py").write_text(CODE)
    study = tmp_path / "small.toml"
    study.write_text(
        'seeds = 2\ncontrols = false\nmethods = ["infobatch"]\n'
        '[task]\ndata = "digits"\nmodel = "cnn"\nepochs = 3\nlimit = 600\n'
    )
    rows = tmp_path / "killed" / "rows.jsonl"
    command = [sys.executable, tmp_path / "run.py", study, tmp_path / "killed", str(jobs)]
    with subprocess.Popen(command) as process:
        while process.poll() is None and not (rows.exists() and rows.read_bytes()):
            time.sleep(0.01)
        begun = children(process.pid) if process.poll() is None else []
        os.kill(process.pid, signal.SIGKILL)
    done = len(rows.read_bytes().splitlines())
    assert 1 <= done < 8
    end = time.monotonic() + 30
    while any(map(alive, begun)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(map(alive, begun))
    results = (
        Study.load(study, out=tmp_path / "killed").run(),
        Study.load(study, out=tmp_path / "whole").run(),
    )
    assert results[0].missing == results[1].missing == 0
    assert without_times(tmp_path / "killed") == without_times(tmp_path / "whole")
