"""The scripts that measure how well methods choose and learn, in their quick form: every row."""

import gc
import re
import runpy

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from samplewise.bench.study import results

RUNGS = ["full loss", "bf16", "at", "bf16 + at", "view", "bf16 + view", "bf16 + view + at"]


def test_cheap_scores_has_the_cost_and_the_ranking_of_every_rung(quick):
    found, page, _ = quick("cheap_scores")
    assert list(found["cost"]["encoder"]) == list(found["ranking"]["encoder"]) == RUNGS
    assert list(found["ranking"]["cnn"]) == RUNGS[:4]  # it takes images of one size
    for rung in RUNGS:
        assert all(row["share"] > 0 for row in found["cost"]["encoder"][rung].values())
        assert list(found["ranking"]["encoder"][rung]) == ["early", "middle", "late"]
        assert page.count(f"| encoder | {rung} |") == 2
    assert all(row["spearman"] > 0.999 for row in found["ranking"]["cnn"]["full loss"].values())
    assert "- encoder, keep 0.25:" in page


def test_cheap_scores_adds_networks_of_given_data_to_a_file(quick, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "c.npz", train_x=rng.integers(0, 256, (128, 32, 32, 3), np.uint8),
             train_y=rng.integers(0, 10, 128))  # fmt: skip
    rows = {"text_a": [f"a film of {i} words" for i in range(8)], "label": [float(i % 2) for i in range(8)]}
    parquet.write_table(pa.table(rows), tmp_path / "sst2-train.parquet")
    given = ("--data", str(tmp_path / "c.npz"), "--glue", str(tmp_path), "--networks")
    first, *_ = quick("cheap_scores", *given, "fast")
    found, page, _ = quick("cheap_scores", *given, "minilm")
    for part in ("cost", "ranking"):
        assert list(found[part]) == ["fast", "minilm"]
        assert found[part]["fast"] == first[part]["fast"]
        for by_rung in found[part].values():
            assert list(by_rung) == [*RUNGS, "scorer"]
    assert page.count("| minilm | scorer |") == page.count("| fast | scorer |") == 2
    assert found["how"]["fast"]["rounds"] == 1


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


def test_prompts_runs_every_arm_in_every_world(quick):
    found, page, printed = quick("prompts")
    worlds, arms = found["worlds"], {row["arm"] for row in found["rows"]}
    assert {"shuffled epochs", "thompson", "mean", "uniform, replacements", "thompson, fade 0.5"} <= arms
    for world in worlds:
        mine = {row["arm"]: row for row in found["rows"] if row["world"] == world}
        assert {"shuffled epochs", "thompson", "thompson, replacements"} <= set(mine)
        # Replacements make more roll-outs in a step, and no arm takes more than 40 steps here.
        assert all(row["runs"] == 2 and max(row["steps"]) <= 40 for row in mine.values())
        assert f"| {world} | thompson | " in page
    assert "Quick form" in page
    assert printed.strip() == page.strip()


def test_prompts_gives_the_interval_of_a_median(scripts):
    median_of = runpy.run_path(str(scripts / "prompts.py"))["median_of"]
    # The textbook ranks for 20 values are 6 and 15; of 5 values not even all of them hold 95 %.
    assert median_of([float(i) for i in range(1, 21)]) == (10.5, 6.0, 15.0)
    assert median_of([3.0, 1.0, 2.0, 5.0, 4.0]) == (3.0, 1.0, 5.0)


def test_messages_chooses_among_every_kind_of_features(apart):
    rows = apart("messages")[0]["rows"]
    assert [row["features"] for row in rows] == ["spread", "clusters", "copies"]
    assert all((row["n"], row["keep"]) == (1200, 0.5) and row["seconds"] > 0 for row in rows)


def test_margins_finds_the_same_samples_in_both_ways(apart):
    found = apart("margins")[0]
    assert found["stream"]["same"] is True
    assert [row["keep"] for row in found["rows"]] == [0.6, 0.2] * 2


def test_proxy_measures_every_network(apart):
    rows = apart("proxy")[0]["rows"]
    assert [row["model"] for row in rows] == ["mlp", "cnn", "mobilenet_v2", "resnet18"]
    assert all(0 < row["flops_share"] < 1 for row in rows)


def test_noise_budget_measures_every_rule_in_every_chosen_epoch(apart):
    rows = apart("noise_budget")[0]["rows"]
    by_rule = {
        rule: [row["epoch"] for row in rows if row["rule"] == rule] for rule in {r["rule"] for r in rows}
    }
    assert len(by_rule) > 3
    assert all(epochs == [1, 4, 8, 12] for epochs in by_rule.values())


def test_label_errors_ranks_recorded_and_held_out_probabilities(apart):
    rows = apart("label_errors")[0]["rows"]
    assert {row["of"] for row in rows} >= {"recorded"}
    assert all(0 <= row["average_precision"] <= 1 for row in rows)


def test_fast_trains_for_each_number_of_epochs(quick, images):
    rows, page, _ = quick("fast", "--data", str(images))
    assert [(row["epochs"], row["seed"], row["n"]) for row in rows] == [(2, 0, 90), (1, 0, 90)]
    assert all(0 <= row["test"]["accuracy"] <= 100 for row in rows)
    assert "| 1 | 1 | " in page


def test_judge_counts_and_times_small_studies(main, tmp_path, monkeypatch):
    monkeypatch.setattr(gc, "collect", gc.collect)  # the script replaces it
    monkeypatch.setattr(results, "_other_axes", results._other_axes)
    page = tmp_path / "judge.md"
    printed = main("judge", "--quick", "--out", page)
    assert printed.strip() == page.read_text().strip()
    assert [line.count("|") for line in printed.splitlines() if line.startswith("| ")] == [5] * 5 + [6] * 5
    assert re.search(r"A study of \d+ runs takes", printed)
    for study in ("digits, mlp", "digits, cnn", "digits, cnn, augmented, batches of 32"):
        assert f"| {study} | " in printed
