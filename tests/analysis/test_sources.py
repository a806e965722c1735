"""What `samplewise analyse` reads: files of scores and run folders."""

import pytest
import torch

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
    with pytest.raises(ValueError, match="--method ucb: no folder given has a score table of it"):
        read_sources([tmp_path / "a.parquet"], ["ucb"])


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
