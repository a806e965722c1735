"""A full disk: what was written before is whole and stays, and the error says so."""

import itertools

import pytest
import torch

from samplewise.bench import files
from samplewise.bench import train as training
from samplewise.cli import main
from samplewise.coresets.table import ScoreTable, Subset
from samplewise.files import checkpoints
from samplewise.report import pictures
from tests.cli.test_train_command import content
from tests.faults.disk import FULL, room_for

OPTIONS = ["train", "--limit", "120", "--epochs", "4", "--batch-size", "32", "--seeds", "1", "--threads", "1"]
OPTIONS += ["--model", "mlp", "--method", "infobatch"]


def table(n):
    """With losses that do not compress."""
    losses = torch.rand(n, generator=torch.Generator().manual_seed(0))
    return ScoreTable(torch.arange(n), {"loss": losses}, torch.zeros(n, dtype=torch.int32))


def subset(n):
    """With weights that do not compress."""
    return Subset(torch.arange(n), torch.rand(n, generator=torch.Generator().manual_seed(0)) + 0.5)


@pytest.mark.parametrize(("make", "read"), [(table, ScoreTable.read), (subset, Subset.read)])
@pytest.mark.parametrize("size", [0, 1000, 9000])
def test_a_table_or_subset_that_was_there_stays(tmp_path, make, read, size):
    path = tmp_path / "some.parquet"
    make(3).to_parquet(path)
    with room_for(size), pytest.raises(OSError, match="Errno 27") as error:
        make(5000).to_parquet(path)
    assert str(error.value) == f"{FULL}'{path}'"
    assert len(read(path)) == 3
    assert list(tmp_path.iterdir()) == [path]
    make(5000).to_parquet(path)
    assert path.stat().st_size > 9000  # so that each of the sizes was too small
    assert len(read(path)) == 5000


@pytest.mark.parametrize("size", [0, 3000])
def test_the_command_line_says_so_and_resumes_when_there_is_room(tmp_path, monkeypatch, capsys, size):
    monkeypatch.setattr(pictures, "draw", lambda *_: [])
    save, calls = checkpoints.save, itertools.count(1)

    def filling(path, state):
        if next(calls) == 7:
            with room_for(size):
                save(path, state)
        save(path, state)

    out, whole = tmp_path / "one", tmp_path / "whole"
    with monkeypatch.context() as patch:
        patch.setattr(training, "EVERY", 0.0)
        patch.setattr(training, "SPARING", 0)
        patch.setattr(checkpoints, "save", filling)
        assert main([*OPTIONS, "--out", str(out)]) == 2
    checkpoint = out / "checkpoint-infobatch-0.pt"
    assert capsys.readouterr().err == f"error: {FULL}'{checkpoint}'\n"
    assert checkpoints.load(checkpoint)["selector"]["done"] > 0
    assert sorted(path.name for path in out.iterdir()) == [checkpoint.name, "config.json"]
    assert files.read_lines(out / "results.jsonl") == []
    assert main([*OPTIONS, "--out", str(out), "--resume"]) == 0
    assert main([*OPTIONS, "--out", str(whole)]) == 0
    assert content(out) == content(whole)
