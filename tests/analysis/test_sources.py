"""What `samplewise analyse` reads: files of scores and run folders."""

import pytest
import torch

from samplewise.cli import main
from samplewise.cli.analyse.common import folder_for, read_sources, write_json
from samplewise.coresets.table import ScoreTable


def table(n=4):
    return ScoreTable(torch.arange(n), {"loss": torch.rand(n)}, torch.ones(n, dtype=torch.int64))


def test_a_file_is_named_by_itself_and_an_empty_folder_is_refused(tmp_path):
    table().to_parquet(tmp_path / "a.parquet")
    (source,) = read_sources([tmp_path / "a.parquet"])
    assert (source.name, source.seed, len(source.table)) == ("a", None, 4)
    with pytest.raises(ValueError, match=r"no config\.json"):
        read_sources([tmp_path])
    with pytest.raises(ValueError, match=r"--method ucb chooses runs, but no run folder is given\."):
        read_sources([tmp_path / "a.parquet"], ["ucb"])


def test_of_a_run_folder_the_methods_that_it_has_are_told(tmp_path):
    out = str(tmp_path / "run")
    run = "train --model mlp --limit 50 --epochs 1 --seeds 1 --history --method infobatch --method full"
    assert main([*run.split(), "--out", out]) == 0
    assert [source.method for source in read_sources([tmp_path / "run"])] == ["full", "infobatch"]
    assert [source.method for source in read_sources([tmp_path / "run"], ["infobatch"])] == ["infobatch"]
    with pytest.raises(
        ValueError, match=r"score table of it\. They have full, infobatch\. Leave out --method"
    ):
        read_sources([tmp_path / "run"], ["xyz"])


def test_files_are_overwritten_only_by_force_and_numbers_that_are_not_finite_are_null(tmp_path):
    for force in (False, True):
        with folder_for("x", tmp_path, force, ["a.json"]) as folder:
            write_json(folder / "a.json", {"rows": [(float("nan"), 1.5)]})
    assert (tmp_path / "a.json").read_text().split() == [
        "{",
        '"rows":',
        "[",
        "[",
        "null,",
        "1.5",
        "]",
        "]",
        "}",
    ]
    with pytest.raises(ValueError, match="add --force"), folder_for("x", tmp_path, False, ["a.json"]):
        pass
