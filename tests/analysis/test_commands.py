"""The sub-commands label-errors, leaving, keep, heat and published: their files, and what they refuse."""

import json

import numpy as np
import pytest
import torch

from samplewise.bench.altered import wrong_labels
from samplewise.bench.collected import collected
from samplewise.bench.data import limited, load
from samplewise.bench.study.cache import Rows
from samplewise.bench.study.jobs import Job
from samplewise.cli import main
from samplewise.coresets.history import SelectionHistory
from samplewise.coresets.table import ScoreTable
from samplewise.files.columns import read_columns
from tests.cli.narrow import WIDTH, no_digit_is_lost, plain


@pytest.fixture
def told(capsys, monkeypatch):
    """Runs a command in a terminal of 80 columns, and returns its code and what it said in one line."""
    for name, value in WIDTH.items():
        monkeypatch.setenv(name, value)

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        no_digit_is_lost(plain(said.out))
        return code, " ".join(plain(said.out + said.err).split())

    return run


def scores(path, n=200, noise=True, **more):
    """A file of scores in which wrong labels have a high EL2N, as `samplewise score` writes it."""
    rng = torch.Generator().manual_seed(0)
    wrong = wrong_labels(n, 0.2, 0)
    columns = {"el2n": torch.rand(n, generator=rng) + wrong, "aum": torch.rand(n, generator=rng)}
    known = {"label_noise": {"share": 0.2, "kind": "uniform", "seed": 0}} if noise else {}
    provenance = {"n": n, "methods": {"el2n": "recipes.el2n()", "aum": "recipes.aum()"}, **known}
    table = ScoreTable(
        torch.arange(n), columns, torch.ones(n, dtype=torch.int64), torch.arange(n) % 10, provenance
    )
    table.to_parquet(path)
    return wrong


def test_label_errors_are_ranked_and_counted_for_a_noisy_training(tmp_path, told):
    wrong = scores(tmp_path / "s.parquet")
    code, said = told("analyse", "label-errors", tmp_path / "s.parquet", "-o", tmp_path / "out")
    assert not code, said
    assert "el2n ranks best by average precision: of as many suspects" in said
    found = json.loads((tmp_path / "out" / "label-errors.json").read_text())
    assert found["detection"]["el2n"]["wrong"] == [40]
    assert found["detection"]["el2n"]["average precision"] == [1.0]
    assert 0.1 < found["detection"]["aum"]["average precision"][0] < 0.5
    columns, _ = read_columns(tmp_path / "out" / "suspects-s.parquet", ("id",))
    assert torch.equal(columns["wrong"].bool(), wrong)
    assert torch.equal(columns["el2n rank"] < 40, wrong)
    assert (tmp_path / "out" / "label-errors.png").stat().st_size > 10_000


def test_label_errors_without_known_noise_are_only_ranked(tmp_path, told):
    wrong = scores(tmp_path / "s.parquet", noise=False)
    command = ("analyse", "label-errors", tmp_path / "s.parquet", "--by", "el2n", "-o", tmp_path / "out")
    code, said = told(*command)
    assert not code, said
    assert not (tmp_path / "out" / "label-errors.png").exists()
    code, said = told(*command)
    assert (code, "add --force" in said) == (2, True)
    np.save(tmp_path / "wrong.npy", wrong.numpy())
    code, said = told(*command, "--noise-from", tmp_path / "wrong.npy", "--force")
    assert (code, "40 wrong labels" in said) == (0, True), said
    for mask, problem in (
        (wrong.numpy()[:150], "each of the 200 samples, got 150"),
        (np.arange(200), "one truth value, or 0 or 1"),
        (np.array(["a"]), "must hold numbers"),
    ):
        np.save(tmp_path / "bad.npy", mask)
        code, said = told(*command, "--noise-from", tmp_path / "bad.npy", "--force")
        assert (code, problem in said) == (2, True), said
    code, said = told(*command, "--data", "digits", "--limit", "200", "--force")
    assert (code, "has other labels than digits" in said) == (2, True), said
    code, said = told("analyse", "label-errors", tmp_path / "s.parquet", "--lowest", "eln")
    assert (code, "--lowest must be one of el2n, aum, got 'eln'" in said) == (2, True), said


def test_label_errors_take_probabilities_for_cleanlab(tmp_path, told):
    pytest.importorskip("cleanlab")
    wrong = scores(tmp_path / "s.parquet")
    labels = torch.arange(200) % 10
    probabilities = torch.full((200, 10), 0.05)
    probabilities[torch.arange(200), torch.where(wrong, (labels + 1) % 10, labels)] = 0.55
    np.savez(tmp_path / "p.npz", probabilities=probabilities.numpy())
    command = ("analyse", "label-errors", tmp_path / "s.parquet", "-o", tmp_path / "out")
    code, said = told(*command, "--probabilities", tmp_path / "p.npz")
    assert not code, said
    found = json.loads((tmp_path / "out" / "label-errors.json").read_text())["detection"]
    assert found["cleanlab self_confidence"]["average precision"] == [1.0]


def test_label_errors_draws_the_first_suspects(tmp_path, told):
    labels = limited(load("digits"), 200).train_y
    table = ScoreTable(
        torch.arange(200), {"el2n": torch.rand(200)}, torch.ones(200, dtype=torch.int64), labels, {"n": 200}
    )
    table.to_parquet(tmp_path / "s.parquet")
    command = ("analyse", "label-errors", tmp_path / "s.parquet", "-o", tmp_path / "out")
    code, said = told(*command, "--data", "digits", "--limit", "200")
    assert not code, said
    assert (tmp_path / "out" / "suspects-s.png").stat().st_size > 10_000


@pytest.mark.parametrize("scored", [("--method", "el2n", "--runs", "2"), ("--method", "irreducible")])
def test_scores_note_the_noise_of_their_training(tmp_path, told, scored):
    few = ("--data", "digits", "--limit", "100", "--model", "mlp", "--epochs", "1", "--label-noise", "0.3")
    code, said = told("score", *few, *scored, "--out", tmp_path / "s.parquet")
    assert not code, said
    clean = limited(load("digits"), 100).train_y
    code, said = told("analyse", "label-errors", tmp_path / "s.parquet", "-o", tmp_path / "out")
    assert (code, "30 wrong labels" in said) == (0, True), said
    columns, _ = read_columns(tmp_path / "out" / "suspects-s.parquet", ("id",))
    assert torch.equal(columns["wrong"].bool(), columns["label"] != clean)


def planned(path, n=1347, history=True):
    """A table with a history of three selections, of the digits."""
    made = SelectionHistory(n)
    for epoch, count in ((0, n), (4, 900), (8, 300)):
        made.add(epoch, torch.arange(count))
    table = ScoreTable(
        torch.arange(n),
        {},
        torch.ones(n, dtype=torch.int64),
        None,
        {"n": n, "epochs": 12},
        made if history else None,
    )
    table.to_parquet(path)


def test_leaving_draws_the_images_of_every_period(tmp_path, told):
    planned(tmp_path / "h.parquet")
    command = ("analyse", "leaving", tmp_path / "h.parquet", "-o", tmp_path / "out")
    code, said = told(*command, "--data", "digits", "--examples", "4")
    assert not code, said
    assert "300 of 1,347 samples are in the last plan" in said
    groups = json.loads((tmp_path / "out" / "leaving-h.json").read_text())["groups"]
    assert [(group["name"], group["samples"]) for group in groups] == [
        ("left in epoch 4", 447),
        ("left in epoch 8", 600),
        ("in the last plan", 300),
    ]
    columns, _ = read_columns(tmp_path / "out" / "leaving-h.parquet", ("id",))
    assert columns["left"].tolist() == [12] * 300 + [8] * 600 + [4] * 447
    for picture in ("leaving-h.png", "leaving-h-classes.png"):
        assert (tmp_path / "out" / picture).stat().st_size > 10_000
    code, said = told(*command, "--data", "digits", "--limit", "500", "--force")
    assert (code, "is of 1,347 samples, but digits has 500" in said) == (2, True), said
    code, said = told(*command, "--data", "digits", "--class-names", "zero,one", "--force")
    assert (code, "one name for each of the 10 classes, got 2" in said) == (2, True), said
    code, said = told(*command, "--limit", "500", "--force")
    assert (code, "--limit 500 goes with --data" in said) == (2, True), said
    planned(tmp_path / "none.parquet", history=False)
    code, said = told("analyse", "leaving", tmp_path / "none.parquet", "-o", tmp_path / "no")
    assert (code, "has no history of selections" in said) == (2, True), said


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The folder of a study: tdds over T and window without one cell, and full."""
    folder = tmp_path_factory.mktemp("study")
    rows = Rows(folder / "rows.jsonl", "task")
    methods = [f"tdds:keep={k},T={T},window={w}" for k in (0.3, 0.5) for T in (5, 10) for w in (3, 5)]
    for seed in (0, 1):
        for number, method in enumerate([*methods[:-1], "full"]):
            result = {"accuracy": 70.0 + number + seed, "loss": 1.0 - number / 10}
            found = {"n": 100, "cost": 1.0, "seconds": 1.0, "test": result, "validation": result}
            rows.add(Job(method, 10, seed), found)
    rows.add(
        Job("full", 5, 0), {"n": 100, "cost": 1, "seconds": 1, "test": {"accuracy": 1.0}, "validation": {}}
    )
    rows.add(
        Job("tdds", 10, 1000),
        {"n": 100, "cost": 1, "seconds": 1, "test": {"accuracy": 1.0}, "validation": {}},
    )
    return folder


def test_runs_of_a_study_are_read_without_shorter_and_tuning_runs(study):
    found = collected([study])
    assert len(found) == 16
    first, full = found[0], found[7]
    assert (first.recipe, first.params["T"], first.params["keep"], first.value, first.n) == (
        "tdds",
        5,
        0.3,
        70.0,
        100,
    )
    assert (full.method, full.value) == ("full", 77.0)
    with pytest.raises(ValueError, match=r"no 'acuracy'. Did you mean 'accuracy'\?"):
        collected([study], "acuracy")


def test_a_heat_map_has_the_missing_cell(study, tmp_path, told):
    command = ("analyse", "heat", study, "--x", "T", "--y", "window", "-o", tmp_path)
    code, said = told(*command)
    assert (code, "also differ in keep (0.3, 0.5)" in said) == (2, True), said
    code, said = told(*command, "--where", "keep=0.5", "--metric", "loss")
    assert not code, said
    found = json.loads((tmp_path / "heat.json").read_text())
    assert found["seeds"] == [[2, 2], [2, 0]]
    assert found["mean"][0] == pytest.approx([0.6, 0.4])
    assert found["mean"][1][1] is None
    assert (tmp_path / "heat.png").stat().st_size > 10_000


def test_accuracy_against_keep_reads_a_study(study, tmp_path, told):
    code, said = told("analyse", "keep", study, "-o", tmp_path)
    assert not code, said
    points = json.loads((tmp_path / "keep.json").read_text())["points"]
    assert said.count("full 1 77.50 (77.00 to 78.00)") == 1  # once, not at both ends of its line
    assert "full 0" not in said
    assert {"method": "full", "keep": 1.0, "mean": 77.5, "low": 77.0, "high": 78.0} in points
    assert {point["method"] for point in points} == {
        "full",
        *(f"tdds:T={T},window={w}" for T, w in ((5, 3), (5, 5), (10, 3))),
    }
    assert (tmp_path / "accuracy-keep.png").exists()


NUMBERS = """reference = "full"
[[published]]
method = "full"
value = 95.0
source = "Table 1"
[[published]]
method = "tdds:window=3,T=5,keep=0.3"
name = "TDDS"
value = 90.5
spread = 0.2
source = "Table 1"
[[published]]
method = "el2n"
value = 80.0
source = "Table 1"
"""


def test_published_numbers_stand_beside_the_mean_of_the_same_method(study, tmp_path, told):
    file = tmp_path / "numbers.toml"
    file.write_text(NUMBERS)
    command = ("analyse", "published", file, study, "-o", tmp_path / "out", "--force")
    code, said = told(*command)
    assert not code, said
    assert "1 of 2 published numbers have runs of ours" in said
    tdds, el2n = json.loads((tmp_path / "out" / "published.json").read_text())["rows"]
    assert (tdds["method"], tdds["published"], tdds["ours"], tdds["seeds"]) == ("TDDS", -4.5, -7.0, 2)
    assert (el2n["published"], el2n["ours"]) == (-15.0, None)
    assert (tmp_path / "out" / "published.png").stat().st_size > 10_000
    told_by_the_study = [
        {"method": m, "metric": "accuracy", "value": v, "spread": None, "source": "T", "setting": s}
        | {"difference": d, "full": 95.0 if m == "tdds:keep=0.3,T=5,window=3" and not d else None}
        for m, v, s, d in (
            ("tdds:keep=0.3,T=5,window=3", 90.5, "A", False),
            ("tdds:keep=0.5,T=5,window=3", None, "A", False),
            ("tdds:keep=0.3,T=5,window=5", -1.0, "B", True),
        )
    ]
    (study / "verdicts.json").write_text(json.dumps({"published": told_by_the_study}))
    code, said = told("analyse", "published", study, "-o", tmp_path / "study")
    assert not code, said
    found = json.loads((tmp_path / "study" / "published.json").read_text())["rows"]
    assert [(one["setting"], one["published"], one["ours"]) for one in found] == [
        ("T, A", -4.5, -7.0),
        ("T, B", -1.0, -6.0),
    ]
    part = tmp_path / "parts" / "small" / "clean"
    part.mkdir(parents=True)
    (part / "verdicts.json").write_text("{}")
    code, said = told("analyse", "published", tmp_path / "parts", "-o", tmp_path / "no")
    assert (code, f"have folders of their own: {part}." in said) == (2, True), said
    code, said = told("analyse", "published", study, "--metric", "loss", "-o", tmp_path / "no")
    assert (code, "has no published number of loss" in said) == (2, True), said
    for changed, problem in (
        (
            NUMBERS.replace("value = 95.0", "valu = 95.0"),
            "number 1: unknown key 'valu'. Did you mean 'value'?",
        ),
        (NUMBERS.replace("value = 95.0", 'value = "95"'), "number 1: value must be a number"),
        (NUMBERS.replace('"full"', '"ful"', 1), "must have a row of the reference ful"),
        ("x = 1", "at least one table [[published]]"),
        ("x", "is no file of published numbers"),
    ):
        file.write_text(changed)
        code, said = told(*command)
        assert (code, problem in said) == (2, True), said
