"""The scripts that measure what selection costs, in their quick form: every row of their results."""

from pathlib import Path

import pytest
import torch

from samplewise import recipes
from samplewise.testing.trace import build

CHECKOUT = Path(__file__).parents[2]
PARTS = ("waits", "precision", "compiled", "overhead", "scoring", "training")  # of gpu.py


def test_overhead_measures_every_recipe_that_chooses_again(quick):
    found, page, printed = quick("overhead")
    measured, levels = {row["what"]: row for row in found["rows"]}, ("epoch", "batch", "epoch+batch")
    by_level = {name: recipe.level for name, recipe in recipes.all().items() if recipe.level in levels}
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


def test_gpu_does_every_part_without_an_accelerator(apart):
    found, page, printed = apart("gpu", "--device", "cpu")
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


def test_ranks_counts_what_processes_exchange(apart):
    found, page, printed = apart("ranks")
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


def test_speed_compares_with_another_checkout_and_with_references(apart):
    found, page, printed = apart("speed", str(CHECKOUT))
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


def test_static_measures_every_method_that_records(quick):
    found, page, printed = quick("static")
    rows = {row["what"]: row for row in found["rows"]}
    for name, recipe in recipes.all().items():
        policy = build(recipe, 16) if recipe.level == "static" else None
        fed = policy is not None and policy.source == "training" and "features" not in policy.needs
        peaks = [what for what in rows if what.startswith(f"{name}: peak over 4 epochs")]
        assert len(peaks) == 2 * fed
    assert sum(what.startswith("record a step, ") for what in rows) == 2
    assert all(row["median"] > 0 for row in rows.values() if "unit" in row)
    for what in rows:
        assert f"| {what} |" in page
        assert what in printed


def test_trainer_overhead_compares_losses_and_times_of_steps(sentences, apart):
    found, page, _ = apart("trainer_overhead", str(sentences / "cola-train.parquet"))
    assert found["losses_differ_by"] < 1e-5
    for part in ("alone", "encoder", "narrowed"):
        assert found[part]["steps"] == 2
        assert all(found[part][clock]["base"] > 0 for clock in ("wall", "cpu"))
    assert len(found["parts"]) == 6
    assert 0 < found["narrowed"]["promised"] < 1
    assert page.count("| `full`, ") == 4
