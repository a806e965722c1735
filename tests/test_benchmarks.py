"""The scripts of benchmarks/ run with `--quick`: few samples and repeats, but every row of their results."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from samplewise import recipes

SCRIPTS = Path(__file__).parents[1] / "benchmarks"
PARTS = ("waits", "precision", "compiled", "overhead", "scoring", "training")  # of gpu.py
RUNGS = ["full loss", "bf16", "at", "bf16 + at", "view", "bf16 + view", "bf16 + view + at"]


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


def apart(folder, name, *given):
    """The same in a process of its own: torch.compile cannot follow the shape checker of the tests."""
    out = folder / f"{name}.json"
    command = [sys.executable, str(SCRIPTS / f"{name}.py"), *given, "--quick", "--out", str(out)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(out.read_text()), out.with_suffix(".md").read_text(), printed


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
    assert all(row["median"] > 0 for by_name in found["parts"].values() for row in by_name.values())
    assert "| checking a kept list |" in page


def test_gate_compares_every_method_that_chooses_inside_batches_with_ordinary_training(quick):
    found, page, printed = quick("gate")
    rows = found["models"]["linear"]["methods"]
    assert list(rows) == [name for name, recipe in recipes.all().items() if "batch" in recipe.level]
    for name, row in rows.items():
        assert row["gate"]["median"] > 0 < row["without"]["median"]
        assert f"| {name} |" in page
    assert found["models"]["linear"]["full_over_plain_torch"]["median"] > 0
    assert "Above 1.03 of ordinary training in the median" in printed


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


def test_gpu_does_every_part_without_an_accelerator(tmp_path):
    found, page, printed = apart(tmp_path, "gpu", "--device", "cpu")
    rows = {part: [row for row in found["rows"] if row["part"] == part] for part in PARTS}
    by_level = {name: recipe.level for name, recipe in recipes.all().items()}
    assert [row["name"] for row in rows["waits"]] == sorted(by_level)
    assert not any(row["refused"] for row in rows["waits"])  # a CPU has nothing to wait for
    chosen_again = [name for name in sorted(by_level) if by_level[name] != "static"]
    assert [row["name"] for row in rows["overhead"]] == chosen_again
    assert {row["overlap"] for row in rows["precision"] if row["name"].endswith("channels last")} <= {
        0.75,
        1.0,
    }
    assert all(row["finite"] for row in rows["precision"])
    assert all(row["same_choices"] == 1 for row in rows["compiled"])
    assert len(rows["scoring"]) == 8
    costs = {row["name"]: row["cost"] for row in rows["training"]}
    assert costs["full, 4 epochs, seed 0"] == 1.0
    assert costs["full, 1 epochs, seed 0"] == 0.25
    assert costs["evolved_sampling, 4 epochs, seed 0"] < 1
    assert not any("error" in row for row in found["rows"])
    assert f"| {rows['waits'][0]['name']} |" in page
    assert page.count("\n## ") == len(PARTS)
    assert len(printed.splitlines()) == len(found["rows"])


def test_gpu_leaves_out_what_would_begin_after_its_time(quick):
    found, page, _ = quick("gpu", "--device", "cpu", "--minutes", "0", "--part", "waits")
    assert (found["rows"], found["left_out"]) == ([], len(recipes.all()))
    assert f"before {len(recipes.all())} more rows" in page


def test_gpu_says_what_to_do_without_an_accelerator(quick, capsys):
    if torch.cuda.is_available():
        pytest.skip("needs a machine without CUDA")
    with pytest.raises(SystemExit):
        quick("gpu")
    assert "--device cuda cannot be used" in (error := capsys.readouterr().err)
    assert "--quick --device cpu" in error


def test_ranks_counts_what_processes_exchange(tmp_path):
    found, page, printed = apart(tmp_path, "ranks")
    rows = {row["name"]: row for row in found["exchanged"]}
    assert list(rows) == sorted(recipes.all())
    seen = found["n"] // 2  # by each process, in an epoch
    # An id has 8 bytes and a score 4. The numbers of rows and a checksum of the columns go before them.
    assert rows["el2n"]["bytes"] - rows["full"]["bytes"] == seen * (8 + 4) + 16
    assert rows["full"]["bytes"] == 8 * rows["full"]["calls"]
    assert rows["rs2"]["bytes"] < rows["infobatch"]["bytes"] < rows["dynams"]["bytes"]
    sent, received = rows["el2n"]["many_sent"], rows["el2n"]["many_received"]
    assert received == pytest.approx(63 * sent)
    assert sent == pytest.approx(rows["el2n"]["bytes"] / seen * 1_281_167 / 64)
    assert all(row["low"] <= row["ns"] <= row["high"] for row in found["merged"])
    assert all(f"| {name} | " in page for name in rows)
    assert printed.strip() == page.strip()


def test_speed_compares_with_another_checkout_and_with_references(tmp_path):
    found, page, printed = apart(tmp_path, "speed", str(SCRIPTS.parent))
    rows = {row["what"]: row for row in found["rows"]}
    assert len(rows) == 15
    for row in rows.values():
        assert row["here"]["median"] > 0
        assert row["before"]["median"] > 0
        assert row["met"] == (
            row["here"]["median"] <= row["target"]
            if row["target"] is not None
            else row["ratio"]["median"] <= row["target_ratio"]
        )
        assert f"| {row['what']} | {row['unit']} | " in page
    # A file of 2,000 rows has a header, so a sample takes a little more than in a large one.
    assert 3 < rows["scores in Parquet"]["here"]["median"] < 20
    assert rows["scores in Parquet"]["here"] == rows["scores in Parquet"]["before"]
    assert printed.strip() == page.strip()


def test_advise_compares_predictions_with_trainings(quick):
    found, page, printed = quick("advise", "--model", "mlp")
    methods = ["full", "infobatch", "evolved_sampling", "loss_sampling", "kakurenbo", "random_batch"]
    assert [row["method"] for row in found["rows"]] == methods
    for row in found["rows"]:
        assert row["off"] == row["predicted"] - row["realised"]
        assert row["met"] == (abs(row["off"]) <= found["target"])
        assert f"| mlp | {row['method']} | {row['step_ms']:.1f} |" in page
    assert sum(row["met"] for row in found["rows"]) == int(printed.split(" of 6 predictions")[0].split()[-1])


def test_large_measures_both_forms_of_plans_in_processes_of_their_own(quick):
    found, page, printed = quick("large")
    rows = [("infobatch", "plain"), ("infobatch", "compact"), ("ucb", "plain"), ("ucb", "compact")]
    assert [(row["recipe"], row["form"]) for row in found["rows"]] == rows
    for row in found["rows"]:
        assert list(row["stages"]) == ["plan", "order", "weights", "mask", "state", "load", "parquet"]
        assert row["counts"] == 4
        assert row["scores"] == (4 if row["recipe"] == "infobatch" else 8)
        assert row["file"] > 0
        assert page.count(f"| {row['recipe']} | {row['form']} | 4,096 |") == 2
        assert f"{row['recipe']:<24} {row['form']}" in printed


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


def test_prompts_gives_the_interval_of_a_median(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    median_of = runpy.run_path(str(SCRIPTS / "prompts.py"))["median_of"]
    # The textbook ranks for 20 values are 6 and 15; of 5 values not even all of them hold 95 %.
    assert median_of([float(i) for i in range(1, 21)]) == (10.5, 6.0, 15.0)
    assert median_of([3.0, 1.0, 2.0, 5.0, 4.0]) == (3.0, 1.0, 5.0)


def written(folder, name, *given):
    """The JSON of the quick form of a script, which runs in a process of its own."""
    out = folder / f"{name}.json"
    command = [sys.executable, str(SCRIPTS / f"{name}.py"), *given, "--quick", "--out", str(out)]
    subprocess.run(command, capture_output=True, check=True)
    return json.loads(out.read_text())


def test_messages_chooses_among_every_kind_of_features(tmp_path):
    rows = written(tmp_path, "messages")["rows"]
    assert [row["features"] for row in rows] == ["spread", "clusters", "copies"]
    assert all((row["n"], row["keep"]) == (1200, 0.5) and row["seconds"] > 0 for row in rows)


def test_margins_finds_the_same_samples_in_both_ways(tmp_path):
    found = written(tmp_path, "margins")
    assert found["stream"]["same"] is True
    assert [row["keep"] for row in found["rows"]] == [0.6, 0.2] * 2


def test_proxy_measures_every_network(tmp_path):
    rows = written(tmp_path, "proxy")["rows"]
    assert [row["model"] for row in rows] == ["mlp", "cnn", "mobilenet_v2", "resnet18"]
    assert all(0 < row["flops_share"] < 1 for row in rows)


def test_noise_budget_measures_every_rule_in_every_chosen_epoch(tmp_path):
    rows = written(tmp_path, "noise_budget")["rows"]
    by_rule = {
        rule: [row["epoch"] for row in rows if row["rule"] == rule] for rule in {r["rule"] for r in rows}
    }
    assert len(by_rule) > 3
    assert all(epochs == [1, 4, 8, 12] for epochs in by_rule.values())


def test_label_errors_ranks_recorded_and_held_out_probabilities(tmp_path):
    rows = written(tmp_path, "label_errors")["rows"]
    assert {row["of"] for row in rows} >= {"recorded"}
    assert all(0 <= row["average_precision"] <= 1 for row in rows)
