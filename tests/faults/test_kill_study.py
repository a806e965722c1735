"""A study that is killed in the middle and continued has the rows of one that was not."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from samplewise.bench import Study

STUDY = """
seeds = 2
controls = false
methods = ["infobatch"]
[task]
data = "digits"
model = "mlp"
epochs = 2
limit = 300
"""
KILLED = """
import multiprocessing, os, signal, sys
from samplewise.bench import Study
from samplewise.bench.study.images import ImageTrainer
from samplewise.bench.study.study import Quiet

class Killer(Quiet):
    runs = 0

    def began(self, job, missing):
        self.runs += 1

    def stepped(self, progress):
        if self.runs == 3 and progress > 0.5:
            kill()

def kill(*_):
    print(*(process.pid for process in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    study, out, jobs, moment = sys.argv[1:]
    if moment == "after a row":
        ImageTrainer.finished = kill
    Study.load(study, out=out).run(jobs=int(jobs), watcher=Killer())
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


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the study file, and the folder `whole` of the study that was not killed."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "small.toml").write_text(STUDY)
    assert Study.load(folder / "small.toml", out=folder / "whole").run().missing == 0
    return folder


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads the states of processes in /proc")
@pytest.mark.parametrize(("jobs", "moment", "rows"), [(1, "in a run", 2), (2, "after a row", 1)])
def test_a_killed_study_continues(tmp_path: Path, whole: Path, jobs: int, moment: str, rows: int) -> None:
    (tmp_path / "run.py").write_text(KILLED)
    command = [sys.executable, "run.py", whole / "small.toml", "killed", str(jobs), moment]
    done = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert done.returncode == -signal.SIGKILL
    begun = [int(word) for word in done.stdout.split()]
    assert len(begun) == (jobs if jobs > 1 else 0)
    end = time.monotonic() + 30
    while any(map(alive, begun)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(map(alive, begun))
    killed = tmp_path / "killed"
    assert len((killed / "rows.jsonl").read_bytes().splitlines()) == rows
    assert list((killed / "work").glob("*.pt"))
    assert Study.load(whole / "small.toml", out=killed).run().missing == 0
    assert without_times(killed) == without_times(whole / "whole")
    assert not list((killed / "work").glob("*.pt"))
