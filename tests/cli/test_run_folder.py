import json

import pandas as pd
import torch

from samplewise.cli import main
from samplewise.coresets.table import ScoreTable

COMMAND = ["train", "--limit", "120", "--epochs", "4", "--batch-size", "32", "--seeds", "2", "--threads", "1"]
COMMAND += ["--method", "infobatch", "--method", "evolved_sampling:anneal=0.25", "--method", "full"]


def test_a_run_leaves_results_configuration_scores_and_pictures(tmp_path, capsys):
    out = tmp_path / "runs" / "one"
    assert main([*COMMAND, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    for word in ("test accuracy", "cost share", "wall clock saved", "selection overhead", "±"):
        assert word in " ".join(said.split())
    results = pd.read_json(out / "results.jsonl", lines=True)
    assert len(results) == 6
    # Seed by seed, and `full` first: the others are timed against it.
    assert results["method"].tolist()[::3] == ["full", "full"]
    assert results["seed"].tolist() == [0, 0, 0, 1, 1, 1]
    assert set(results["baseline"]) == {"given"}
    full = results[results["method"] == "full"].iloc[0]
    assert full["samples_backpropagated"] == 4 * 120
    assert full["cost_share"] == 1
    narrowed = results[results["method"].str.startswith("evolved")].iloc[0]
    # One epoch in four is annealed at each end; 120 rows are three batches of 32 and one of 24.
    assert narrowed["samples_backpropagated"] == 2 * 120 + 2 * (3 * 8 + 6)
    assert narrowed["scoring_forwards"] == 2 * 120
    assert len(pd.read_json(out / "curves.jsonl", lines=True)) == 6 * 4
    config = json.loads((out / "config.json").read_text())
    assert config["settings"]["epochs"] == 4
    assert config["policies"]["full"] == "recipes.full()"
    assert config["data"]["train"] == 120
    assert config["versions"]["torch"] == torch.__version__
    assert config["machine"]["threads"] == 1
    table = ScoreTable.read(out / "scores-infobatch-1.parquet")
    assert len(table) == 120
    assert (out / "scores-evolved_sampling_anneal=0.25-0.parquet").exists()
    for picture in ("accuracy-cost.png", "curves.png", "accuracy-seconds.png"):
        assert (out / picture).read_bytes().startswith(b"\x89PNG")
    assert "| full |" in (out / "table.md").read_text()
    assert not list(out.glob("checkpoint*"))


def test_a_batch_that_is_larger_than_the_data_is_told(tmp_path, capsys):
    small = ["train", "--model", "mlp", "--limit", "50", "--epochs", "1", "--seeds", "1", "--method", "full"]
    for size, told in (("50", False), ("51", True)):
        out = tmp_path / size
        assert main([*small, "--batch-size", size, "--out", str(out)]) == 0
        for said in (capsys.readouterr().out, (out / "table.md").read_text()):
            assert ("Every batch has all 50 images: --batch-size 51 is more." in said) == told
