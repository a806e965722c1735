"""Runs a script of benchmarks/ with `--quick`: few samples and repeats, but every row of its results."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPTS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def scripts(monkeypatch):
    """The folder of the scripts, from which they import one another."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return SCRIPTS


@pytest.fixture
def main(monkeypatch, scripts, capsys):
    """Runs a script with arguments in this process, and gives its output."""

    def run(name, *given):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, given)])
        threads = torch.get_num_threads()
        try:
            runpy.run_path(str(scripts / f"{name}.py"), run_name="__main__")
        finally:
            torch.set_num_threads(threads)
        return capsys.readouterr().out

    return run


@pytest.fixture
def quick(main, tmp_path):
    """Runs a script with `--quick`, and gives the JSON that it wrote, the page beside it, and its output."""

    def run(name, *given):
        out = tmp_path / f"{name}.json"
        printed = main(name, *given, "--quick", "--out", out)
        return json.loads(out.read_text()), out.with_suffix(".md").read_text(), printed

    return run


@pytest.fixture
def apart(tmp_path):
    """The same in a process of its own: torch.compile cannot follow the shape checker of the tests."""

    def run(name, *given):
        out = tmp_path / f"{name}.json"
        command = [sys.executable, str(SCRIPTS / f"{name}.py"), *given, "--quick", "--out", str(out)]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        page = out.with_suffix(".md")
        return json.loads(out.read_text()), page.read_text() if page.exists() else "", printed

    return run


@pytest.fixture
def images(tmp_path):
    """An npz file of 1,600 random images of 32 x 32 pixels with 10 classes."""
    import numpy as np

    rng, path = np.random.default_rng(0), tmp_path / "images.npz"
    x = rng.integers(0, 256, (1640, 32, 32, 3), np.uint8)
    y = np.arange(1640) % 10
    np.savez(path, train_x=x[:1600], train_y=y[:1600], test_x=x[1600:], test_y=y[1600:])
    return path


@pytest.fixture
def sentences(tmp_path):
    """A folder with the Parquet files of a task of 80 and 20 sentences."""
    import pyarrow as pa
    from pyarrow import parquet

    for split, n in (("train", 80), ("dev", 20)):
        rows = {"text_a": [f"a film of {i} words" for i in range(n)], "label": [i % 2 for i in range(n)]}
        parquet.write_table(pa.table(rows), tmp_path / f"cola-{split}.parquet")
    return tmp_path
