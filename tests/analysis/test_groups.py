"""Never, sometimes, always: the counts, random selection, the subsets, and the commands."""

import json
from itertools import product

import numpy as np
import pytest
import torch
from scipy import stats

from samplewise.analysis import chance_histogram, compare_retraining, group_subsets, selection_counts
from samplewise.analysis.groups import selection_groups
from samplewise.bench.settings import Settings
from samplewise.cli import main
from samplewise.cli.analyse.groups import train_options
from samplewise.cli.commands import loaded
from samplewise.coresets.history import SelectionHistory
from samplewise.coresets.table import ScoreTable
from samplewise.subset import Subset
from tests.cli.narrow import WIDTH, no_digit_is_lost, plain

N = 300


def table(seed=0, fingerprint="a"):
    """100 never selected, 150 by chance, 50 always, at 10 checkpoints, after one selection of all."""
    drawn, history = torch.Generator().manual_seed(seed), SelectionHistory(N)
    history.add(0, torch.arange(N))
    for epoch in range(1, 11):
        some = 100 + torch.randperm(150, generator=drawn)[:70]
        history.add(epoch, torch.cat([some, torch.arange(250, N)]))
    said = {"fingerprint": fingerprint, "n": N}
    return ScoreTable(torch.arange(N), {}, history.times(), provenance=said, history=history)


def test_counts_are_of_selections_that_left_samples_out_over_all_runs():
    counts = selection_counts([table(0), table(1)])
    assert counts.checkpoints == 20
    assert counts.keeps == (120 / N,) * 20
    wanted = table(0).times_selected + table(1).times_selected - 2
    assert counts.times.tolist() == wanted.tolist()
    assert counts.histogram.sum() == N
    assert counts.histogram[20] == 50


def test_without_a_history_the_checkpoints_must_be_given():
    plain = ScoreTable(torch.arange(4), {}, [0, 3, 1, 2])
    with pytest.raises(ValueError, match="give checkpoints"):
        selection_counts([plain])
    with pytest.raises(ValueError, match="at least 3, the times that sample 1 was selected, got 2"):
        selection_counts([plain], 2)
    counts = selection_counts([plain], 4)
    assert counts.times.tolist() == [0, 3, 1, 2]
    assert counts.keeps == (6 / 16,) * 4


def test_runs_on_other_data_and_runs_that_select_all_are_refused():
    with pytest.raises(ValueError, match="of the same data"):
        selection_counts([table(), table(fingerprint="b")])
    history = SelectionHistory(3)
    history.add(0, torch.arange(3))
    with pytest.raises(ValueError, match=r"took all 3 samples.* \(of a run folder: --method\)\."):
        selection_counts([ScoreTable(torch.arange(3), {}, [1, 1, 1], history=history)])


def test_random_selection_is_the_exact_law_of_independent_draws():
    np.testing.assert_allclose(chance_histogram([0.3] * 8), stats.binom.pmf(np.arange(9), 8, 0.3))
    keeps, wanted = (0.9, 0.2, 0.5), np.zeros(4)
    for taken in product((0, 1), repeat=3):
        odds = [keep if one else 1 - keep for keep, one in zip(keeps, taken, strict=True)]
        wanted[sum(taken)] += np.prod(odds)
    np.testing.assert_allclose(chance_histogram(keeps), wanted)


def test_planted_groups_are_found_and_random_selection_has_none_of_them():
    groups = selection_groups(selection_counts([table()]))
    assert groups.ids("never").tolist()[:100] == list(range(100))
    assert groups.ids("always").tolist() == list(range(250, N))
    assert groups.shares == pytest.approx((1 / 3, 1 / 2, 1 / 6), abs=0.01)
    law = stats.binom(10, 0.4)
    assert groups.chance_shares[0] == pytest.approx(law.cdf(0), rel=1e-9)
    assert groups.chance_shares[2] == pytest.approx(law.pmf(10), rel=1e-6)
    subsets = group_subsets(groups, "a")
    assert [*subsets] == [
        f"{name}{end}" for name in ("never", "sometimes", "always") for end in ("", "-random")
    ]
    assert subsets["always"].ids.tolist() == list(range(250, N))
    assert len(subsets["always-random"]) == 50
    assert not torch.equal(subsets["always-random"].ids, subsets["always"].ids)


def row(method, seed, accuracy, samples=100):
    counts = {"samples_backpropagated": samples, "epochs": 10}
    return {"method": method, "seed": seed, "test_accuracy": accuracy} | counts


def test_retraining_is_compared_seed_by_seed():
    rows = [row("always", 0, 50.0), row("always", 1, 54.0), row("always-random", 1, 60.0)]
    rows += [row("always-random", 0, 61.0), row("always-random", 7, 10.0)]
    (found,) = compare_retraining(rows)
    assert (found.accuracy, found.random, found.seeds, found.samples) == (52.0, 60.5, 2, 10.0)
    wanted = stats.ttest_rel([50.0, 54.0], [61.0, 60.0]).confidence_interval()
    assert (found.difference, found.low, found.high) == pytest.approx((-8.5, *wanted))
    for wrong, said in (
        (rows[:2], "'always' is without 'always-random'"),
        ([*rows, rows[0]], "always, seed 0 comes twice"),
        ([row("a", 0, 1.0), row("a-random", 0, 1.0, 90)], "must train on as many samples, got 90 and 100"),
        ([row("a", 0, 1.0), row("a-random", 1, 1.0)], "no seed in common"),
    ):
        with pytest.raises(ValueError, match=said):
            compare_retraining(wrong)


def test_the_command_writes_groups_subsets_and_the_lines_that_train_on_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    table().to_parquet("ucb.parquet")
    for name, value in WIDTH.items():
        monkeypatch.setenv(name, value)
    assert main(["analyse", "groups", "ucb.parquet", "--out", "g"]) == 0
    said = plain(capsys.readouterr().out)
    no_digit_is_lost(said)
    assert "samplewise train --data DATA --subset g/ucb-never.parquet --out g/retrained-ucb-never\n" in said
    (found,) = json.loads((tmp_path / "g" / "groups.json").read_text())["methods"]
    assert found["shares"] == pytest.approx([1 / 3, 1 / 2, 1 / 6], abs=0.01)
    assert found["histogram"][10] == 50
    assert (tmp_path / "g" / "groups.png").read_bytes().startswith(b"\x89PNG")
    assert Subset.read("g/ucb-always.parquet").ids.tolist() == list(range(250, N))
    assert main(["analyse", "groups", "ucb.parquet", "--out", "g"]) == 2
    assert "add --force" in capsys.readouterr().err
    ScoreTable(torch.arange(4), {}, [0, 3, 1, 2]).to_parquet("plain.parquet")
    assert main(["analyse", "groups", "plain.parquet"]) == 2
    assert capsys.readouterr().err.startswith("error: plain.parquet: the table has no history")


def test_the_lines_have_the_options_of_the_run():
    settings = Settings(
        data="a b.npz", model="mlp", epochs=7, schedule="step", milestone=(0.3, 0.6), label_noise=0.2,
        augment=True, imbalance=(1.0, 0.5), method=("ucb",), device="cpu", history=True,
    )  # fmt: skip
    words = train_options(settings)
    params = loaded("train").make_context("train", words).params
    given = {name: value for name, value in params.items() if value not in (None, False, ())}
    assert given == {
        "data": "a b.npz", "model": "mlp", "epochs": 7, "schedule": "step", "milestone": [0.3, 0.6],
        "label_noise": 0.2, "augment": True, "imbalance": "1,0.5", "seeds": 1,
    }  # fmt: skip


def test_a_table_of_one_seed_in_a_run_folder_knows_its_training(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    task = "--model mlp --epochs 2 --limit 60 --label-noise 0.2 --seeds 2 --history --threads 1 --device cpu"
    monkeypatch.setattr("samplewise.report.pictures.draw", lambda *_: [])
    assert main(["train", *task.split(), "--out", "r", "--method", "uncertainty:keep=0.4,period=1"]) == 0
    assert main(["analyse", "groups", "r", "--out", "g"]) == 2
    assert "give the file of one seed" in capsys.readouterr().err
    monkeypatch.setattr("samplewise.analysis.pictures.groups.draw", lambda *_: None)
    assert main(["analyse", "groups", "r/scores-uncertainty_keep=0.4,period=1-0.parquet", "--out", "g"]) == 0
    said = capsys.readouterr().out
    (line, *_) = [line for line in said.splitlines() if line.startswith("samplewise train")]
    assert "--model mlp --epochs 2" in line
    assert "--label-noise 0.2 --limit 60 --seeds 1 --subset g/" in line
