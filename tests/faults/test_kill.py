"""Kills in the middle of training, small: see benchmarks/faults.py, which this runs."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def python(*arguments):
    """A fresh process with one thread; what it prints."""
    alone = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=BENCHMARKS, env=alone, capture_output=True, text=True, timeout=300
    )
    assert not done.returncode, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_a_killed_training_goes_on_as_if_nothing_had_been(tmp_path):
    python("faults.py", "--moments", "2", "--epochs", "4", "--out", str(tmp_path))
    rows = [json.loads(line) for line in (tmp_path / "faults.jsonl").read_text().splitlines()]
    assert Counter((row["framework"], row["workers"]) for row in rows) == {
        (name, workers): 2
        for name in ("plain loop", "Lightning", "Trainer", "Accelerate")
        for workers in (0, 2)
    }
    assert all(row["survived"] and row["kills"] for row in rows)
    assert {row["kind"] for row in rows} >= {"write", "score", "step"}
    assert "16 / 16" in (tmp_path / "faults.md").read_text()
    # Nothing is tried twice.
    assert python("faults.py", "--moments", "2", "--epochs", "4", "--out", str(tmp_path)) == ""


PLANTED = """
import json, sys, tempfile
from pathlib import Path
import torch
import faults, faults_train
from samplewise.files import checkpoints
from samplewise.selector import Selector

torch.set_num_threads(1)
faults_train.prepare("plain loop")
set_state, save, load = torch.set_rng_state, checkpoints.save, Selector.load_state_dict
def found(*shares):
    case = faults.Case("plain loop", 0, "eswp", 3)
    moments = [faults.Moment(case, "write", number, share) for number, share in enumerate(shares)]
    with tempfile.TemporaryDirectory() as work:
        rows = list(faults.combination("plain loop", 0, moments, Path(work)))
    print(json.dumps([said for row in rows for said in row["wrong"]]))


found(0.6)
torch.set_rng_state = lambda state: None
found(0.6)
torch.set_rng_state = set_state
Selector.load_state_dict = lambda self, state: self.set_epoch(state["engine"]["epoch"])
found(0.6)
Selector.load_state_dict = load
checkpoints.save = lambda path, state: torch.save(state, path)
checkpoints.load = lambda path: torch.load(path, weights_only=True)
found(0.5, 0.6, 0.7, 0.9)  # before or after the file was created
"""


def test_the_harness_finds_a_loop_that_forgets_something_and_a_torn_checkpoint():
    whole, dropout, selection, torn = map(json.loads, python("-c", PLANTED).splitlines())
    assert whole == []
    assert dropout[0].startswith("step ") or dropout == [
        "other weights at the end",
        "other memory at the end",
    ]
    assert selection[0].startswith("step ")
    assert torn
    assert all(said.startswith("did not end: ") for said in torn)


def test_the_table_in_the_docs_is_that_of_the_long_run():
    results = (BENCHMARKS / "results" / "faults.md").read_text().splitlines()
    table = [line for line in results if line.startswith("|")]
    assert len(table) == 2 + 8 + 1
    docs = (BENCHMARKS.parent / "docs" / "reliability.md").read_text()
    assert "\n".join(table) in docs
    rows = [json.loads(line) for line in (BENCHMARKS / "results" / "faults.jsonl").read_text().splitlines()]
    kinds = Counter((row["framework"], row["workers"], row["kind"], row["policy"]) for row in rows)
    for name, workers in {(row["framework"], row["workers"]) for row in rows}:
        assert sum(kinds[name, workers, "write", policy] for policy in ("ucb", "eswp")) >= 10
        assert kinds[name, workers, "score", "ucb"] >= 5
        assert sum(count for key, count in kinds.items() if key[:2] == (name, workers)) >= 30
