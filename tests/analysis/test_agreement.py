"""Agreement of scores: against scipy and the arithmetic of sets."""

import json

import numpy as np
import pytest
import torch
from scipy import stats

from samplewise.analysis import Scores, score_agreement
from samplewise.cli import main
from samplewise.coresets.table import ScoreTable
from tests.cli.narrow import WIDTH, no_digit_is_lost, plain

RNG = np.random.default_rng(0)
BASE = RNG.integers(0, 12, 200).astype(float)  # many equal scores
OTHER = BASE + RNG.normal(0, 4, 200)


def test_ranks_are_correlated_as_in_scipy_and_sets_overlap_as_sets_do():
    order = RNG.permutation(200)
    scores = [
        Scores("a", np.arange(200), BASE, run="seed 0"),
        Scores("a", order, OTHER[order], run="seed 1"),
        Scores("b", np.arange(200), -BASE),
    ]
    found = score_agreement(scores, [0.25, 1.0])
    assert found.names == ("a, seed 0", "a, seed 1", "b")
    for i, one in enumerate((BASE, OTHER, -BASE)):
        for j, two in enumerate((BASE, OTHER, -BASE)):
            assert found.spearman[i, j] == pytest.approx(stats.spearmanr(one, two).statistic)
            # The 50 highest, equal scores by id.
            sets = [{*np.lexsort((np.arange(200), -values))[:50].tolist()} for values in (one, two)]
            common = len(sets[0] & sets[1])
            assert found.shared[0, i, j] == common / 50
            assert found.jaccard[0, i, j] == common / len(sets[0] | sets[1])
    assert found.shared_by_chance[0] == pytest.approx(0.25)
    assert found.jaccard_by_chance[0, 0, 1] == pytest.approx(12.5 / 87.5)
    assert (found.shared[1] == 1).all()
    assert found.mean(found.spearman, within=True) == pytest.approx(found.spearman[0, 1])
    assert found.mean(found.shared, within=False)[0] == pytest.approx(found.shared[0, :2, 2].mean())
    assert len([*found.rows()]) == 3 * 2


def test_samples_that_one_score_does_not_know_are_left_out_for_all():
    one = Scores("one", [5, 6, 7, 8, 9], [1.0, 2.0, 3.0, float("nan"), 5.0])
    two = Scores("two", [9, 7, 5, 4], [float("inf"), 1.0, 2.0, 8.0])
    found = score_agreement([one, two], [0.5])
    assert found.n == 3
    assert found.spearman[0, 1] == pytest.approx(stats.spearmanr([1, 3, 5], [2, 1, np.inf]).statistic)


def test_a_score_without_different_values_has_no_correlation():
    same, up = Scores("a", [0, 1, 2], [1, 1, 1]), Scores("b", [0, 1, 2], [1, 2, 3])
    found = score_agreement([same, up])
    assert np.isnan(found.spearman[0, 1])
    assert np.isnan(found.mean(found.spearman, within=False))
    found = score_agreement([same, up, Scores("c", [0, 1, 2], [3, 2, 1])])
    assert found.mean(found.spearman, within=False) == pytest.approx(-1)  # of the only pair with a number


@pytest.mark.parametrize(
    ("scores", "keeps", "said"),
    [
        ([Scores("a", [0, 1], [1, 2])], [0.5], "at least two scores to compare, got 1"),
        ([Scores("a", [0, 1], [1, 2])] * 2, [0.5], "'a' comes twice"),
        ([Scores("a", [0, 1], [1, 2]), Scores("b", [2, 3], [1, 2])], [0.5], "Are they of one data set"),
        ([Scores("a", [0, 1], [1, 2]), Scores("b", [0, 1], [1, 2])], [0.0], r"in \(0, 1\], got 0.0"),
    ],
)
def test_scores_that_cannot_be_compared_are_refused(scores, keeps, said):
    with pytest.raises(ValueError, match=said):
        score_agreement(scores, keeps)


def test_the_command_compares_what_methods_choose_and_runs_of_one_column(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    columns = {
        "el2n": torch.from_numpy(BASE),
        "moderate": torch.rand(200),
        "moderate_distance": torch.rand(200),
    }
    columns["moderate"] = torch.randperm(200, generator=torch.Generator().manual_seed(0)).float()
    said = {"n": 200, "methods": {"el2n": "recipes.el2n()", "moderate": "recipes.moderate()"}}
    table = ScoreTable(torch.arange(200), columns, torch.zeros(200).int(), provenance=said)
    table.to_parquet("one.parquet")
    for name, value in WIDTH.items():
        monkeypatch.setenv(name, value)
    assert main(["analyse", "agreement", "one.parquet", "--out", "wide"]) == 0
    no_digit_is_lost(plain(capsys.readouterr().out))
    assert main(["analyse", "agreement", "one.parquet", "--keep", "0.25", "--out", "a"]) == 0
    found = json.loads((tmp_path / "a" / "agreement.json").read_text())
    (pair,) = found["pairs"]
    ranks = columns["moderate"].numpy()  # the method keeps the lowest ranks
    assert pair["spearman"] == pytest.approx(stats.spearmanr(BASE, -ranks).statistic)
    sets = [{*table.subset(name, keep=0.25).ids.tolist()} for name in ("el2n", "moderate")]
    assert pair["shared"] == len(sets[0] & sets[1]) / 50
    assert (tmp_path / "a" / "agreement.png").read_bytes().startswith(b"\x89PNG")
    table.to_parquet("two.parquet")
    assert main(["analyse", "agreement", "one.parquet", "two.parquet", "--column", "el2n", "--out", "b"]) == 0
    (pair, *_) = json.loads((tmp_path / "b" / "agreement.json").read_text())["pairs"]
    assert (pair["one"], pair["same_method"], pair["shared"]) == ("el2n, one", True, 1.0)
    assert main(["analyse", "agreement", "one.parquet", "--column", "el2m"]) == 2
    assert "Did you mean 'el2n'?" in capsys.readouterr().err
