"""A wall clock that runs backwards, as when it is set right: no count, choice or checkpoint depends on it."""

import ast
import itertools
import os
import time
from pathlib import Path

import pytest

import samplewise
from samplewise.files import checkpoints
from tests.seams.toys import make, train

SOURCES = Path(samplewise.__file__).parent


@pytest.mark.parametrize("name", ["infobatch", "ucb", "eswp"])
def test_a_wall_clock_that_runs_backwards_changes_nothing(monkeypatch, tmp_path, name):
    expected = train(*make(name, epochs=3, period=2 if name == "ucb" else None))
    ticks = itertools.count(2_000_000_000, -86_400)
    monkeypatch.setattr(time, "time", lambda: float(next(ticks)))
    monkeypatch.setattr(time, "time_ns", lambda: next(ticks) * 10**9)
    selector, model = make(name, epochs=3, period=2 if name == "ucb" else None)
    assert train(selector, model) == expected
    ledger = selector.ledger
    assert all(seconds >= 0 for seconds in ledger.seconds.values())
    assert ledger.wall > 0
    assert 0 <= ledger.overhead <= 1
    assert next(ticks) == 2_000_000_000  # nothing asked for it
    for done in (1, 2):
        checkpoints.save(tmp_path / "last.pt", {"selector": selector.state_dict(), "done": done})
        os.utime(tmp_path / "last.pt", (4e9, 4e9))  # written in the future
    assert checkpoints.load(tmp_path / "last.pt")["done"] == 2


def wall_clocks(code):
    """The lines in which code asks for the time of day."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute):
            asks = ast.unparse(node) in ("time.time", "time.time_ns") or node.attr in ("utcnow", "today")
        else:
            asks = isinstance(node, ast.ImportFrom) and node.module in ("time", "datetime")
        if asks:
            yield node.lineno


def test_seconds_are_measured_with_clocks_that_cannot_run_backwards():
    assert sorted(wall_clocks("import time\nbegun = time.time()\nfrom time import time\n")) == [2, 3]
    asking = {path.name for path in SOURCES.rglob("*.py") if any(wall_clocks(path.read_text()))}
    assert asking == {"atomic.py"}  # the age of a file
