"""The scripts of benchmarks/ run with `--quick`: few samples and repeats, but every row of their results."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

from samplewise import recipes

SCRIPTS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def quick(monkeypatch, tmp_path, capsys):
    """Runs a script with `--quick` and gives the JSON that it wrote, the page beside it, and its output."""

    def run(name, *given):
        out = tmp_path / f"{name}.json"
        monkeypatch.syspath_prepend(str(SCRIPTS))
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *given, "--quick", "--out", str(out)])
        threads = torch.get_num_threads()
        try:
            runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")
        finally:
            torch.set_num_threads(threads)
        return json.loads(out.read_text()), out.with_suffix(".md").read_text(), capsys.readouterr().out

    return run


def test_overhead_measures_every_recipe_that_chooses_again(quick):
    found, page, printed = quick("overhead")
    measured = {row["what"]: row for row in found["rows"]}
    by_level = {name: recipe.level for name, recipe in recipes.all().items() if recipe.level != "static"}
    for name, level in by_level.items():
        start = f"choose, {name}, B = 16" if level == "batch" else f"plan + shuffle, {name}, n = 256"
        assert [row["median"] > 0 for what, row in measured.items() if what.startswith(start)] == [True]
        assert f"| memory, {name} |" in page
        assert f"memory, {name} " in printed
    assert sum(what.startswith("memory") for what in measured) == len(by_level)
    assert measured["memory, infobatch"]["score_bytes_per_sample"] == 4
    assert measured["memory, infobatch"]["weights_bytes_per_sample"] == 4
    assert measured["memory, kakurenbo"]["score_bytes_per_sample"] == 9
    assert measured["memory, dynams"]["score_bytes_per_sample"] == 4 * 10 + 4  # ten classes, and the label
    assert sum(what.startswith("step") for what in measured) == 3
    assert sum(what.startswith("wall clock") for what in measured) == 3


def test_scoring_times_what_is_around_a_scoring_forward(quick):
    found, page, _ = quick("scoring")
    times = found["found"]["this checkout"]
    assert list(times) == ["ResNet-18", "ResNet-50"]
    assert all(row["median"] > 0 for row in times.values())
    assert "| this checkout |" in page


def test_cheap_scores_has_the_cost_and_the_ranking_of_every_rung(quick):
    found, page, _ = quick("cheap_scores")
    rungs = ["full loss", "bf16", "at", "bf16 + at", "view", "bf16 + view", "bf16 + view + at"]
    assert list(found["cost"]["encoder"]) == list(found["ranking"]["encoder"]) == rungs
    assert list(found["ranking"]["cnn"]) == rungs[:4]  # it takes images of one size
    for rung in rungs:
        assert all(row["share"] > 0 for row in found["cost"]["encoder"][rung].values())
        assert list(found["ranking"]["encoder"][rung]) == ["early", "middle", "late"]
        assert page.count(f"| encoder | {rung} |") == 2
    assert all(row["spearman"] > 0.999 for row in found["ranking"]["cnn"]["full loss"].values())
    assert "- encoder, keep 0.25:" in page


def test_scorer_compares_a_small_model_with_the_large_one(quick):
    found, page, printed = quick("scorer")
    by_large, *by_small = found["rows"]
    assert [row["every"] for row in found["rows"]] == [None, 1, 4]
    for row in by_small:
        assert row["cost"] < by_large["cost"]
        for phase in ("early", "middle", "late"):
            assert -1 <= row[f"{phase}_spearman"] <= 1
            assert 0 <= row[f"{phase}_overlap"] <= 1
    assert by_small[1]["cost"] < by_small[0]["cost"]
    assert "| cnn and a quarter of it | the small one, every=4 |" in page
    assert printed.strip() in page
