"""A method with settings of its own run: `RECIPE@key=value`."""

import dataclasses

import pytest

from samplewise.bench import experiment, files
from samplewise.bench.folder import RunFolder
from samplewise.bench.methods import OWN, SHARED, split
from samplewise.bench.optim import DEFAULT_LR
from samplewise.bench.settings import NAMES, Settings
from samplewise.cli import main
from samplewise.report import pictures
from samplewise.subset import Subset

SMALL = ["train", "--limit", "120", "--epochs", "4", "--batch-size", "32", "--seeds", "1"]
SMALL += ["--threads", "1", "--model", "mlp", "--device", "cpu"]
TIMED = ("seconds", "cpu_seconds", "realised", "overhead", "baseline")


@pytest.fixture(autouse=True)
def unpictured(monkeypatch):
    """Drawing takes longer than these runs."""
    monkeypatch.setattr(pictures, "draw", lambda *_: [])


def rows(folder):
    """The results by method, timings and names aside."""
    read = files.read_lines(folder / "results.jsonl")
    return {
        row["method"]: {k: v for k, v in row.items() if k != "method" and not k.startswith(TIMED)}
        for row in read
    }


def test_every_setting_is_a_methods_own_or_shared_with_a_reason():
    assert {*OWN} | {*SHARED} == {*NAMES}
    assert not {*OWN} & {*SHARED}


@pytest.mark.parametrize(
    ("method", "spec", "own"),
    [
        ("ucb", "ucb", {}),
        ("ucb@lr=0.1", "ucb", {"lr": 0.1}),
        ("ucb:keep=0.3,period=5@lr=1e-1, epochs=3", "ucb:keep=0.3,period=5", {"lr": 0.1, "epochs": 3}),
        ("recipes.ucb(keep=0.3)@schedule=step", "recipes.ucb(keep=0.3)", {"schedule": "step"}),
        ("full@schedule=step,milestone=(0.3,0.6)", "full", {"schedule": "step", "milestone": (0.3, 0.6)}),
        ("full@milestone=0.5", "full", {"milestone": (0.5,)}),
        ("rho_loss:irreducible='a@b.parquet'", "rho_loss:irreducible='a@b.parquet'", {}),
        ("rho_loss:irreducible=a@b/c.parquet@lr=1", "rho_loss:irreducible=a@b/c.parquet", {"lr": 1}),
        ("ucb@warmup=None", "ucb", {"warmup": None}),
    ],
)
def test_split_parts_the_recipe_from_its_settings(method, spec, own):
    assert split(method) == (spec, own)


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("ucb@", "must have settings after the @, as in ucb@lr=0.1"),
        ("ucb@lr", "must be written METHOD@key=value,key=value, got 'lr'"),
        ("ucb@lr=1,lr=2", "lr is given twice"),
        ("ucb@batchsize=5", "unknown setting 'batchsize'. Did you mean 'batch_size'?"),
        ("ucb@keep=0.3", "unknown setting 'keep'"),
        ("ucb@data=digits", "data cannot be set for one method. Methods can be compared only on the same"),
        ("ucb@seeds=3", "Use --seeds for all of them"),
        ("ucb@amp=True", "Times can be compared only"),
        ("ucb@lr=0", "'ucb@lr=0': lr must be > 0, got 0"),
        ("ucb@lr=fast", "lr must be a number, got 'fast'"),
        ("ucb@epochs=2.5", "epochs must be a whole number, got 2.5"),
        ("ucb@optimizer=sdg", "Did you mean 'sgd'?"),
        ("ucb@optimizer=[1]", "optimizer must be one of 'sgd', 'adamw', got [1]"),
        ("ucb@schedule=cosine,warmup=0.1", "--warmup needs one of the schedules"),
        ("ucb@schedule=step,milestone=60", "--milestone must ascend in (0, 1)"),
        (
            "ucb@milestone=0.5",
            "milestone has no effect: it needs schedule=step, but the schedule is onecycle",
        ),
        ("ucb@power=2", "power has no effect: it needs schedule=polynomial"),
        ("ucb@schedule=torch_onecycle,momentum=0.5", "moves the momentum itself"),
        ("ucb@coreset_batch_size=8", "coreset_batch_size has no effect: the method chooses no coreset"),
        ("ucb@proxy_width=0.3", "proxy_width has no effect: the method has no proxy"),
        ("moderate@weights=per_sample", "moderate@weights=per_sample has no scores"),
        ("ucbb@lr=1", "unknown method 'ucbb'. Did you mean 'ucb'?"),
        ("evolved_sampling@epochs=2", "epochs"),
    ],
)
def test_bad_settings_of_a_method_are_refused_before_anything_is_written(tmp_path, capsys, method, said):
    assert main([*SMALL, "--method", method, "--out", str(tmp_path / "one")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "one").exists()


def test_score_takes_no_settings_of_one_method(tmp_path, capsys):
    for method in ("el2n@lr=0.1", "irreducible@lr=0.1"):
        assert main(["score", "--method", method, "-o", str(tmp_path / "s.parquet")]) == 2
        assert "share one training" in capsys.readouterr().err


def test_another_optimizer_or_schedule_brings_its_own_defaults():
    methods = ("full", "full@optimizer=adamw", "full@optimizer=adamw,lr=0.5", "full@schedule=cosine")
    shared = Settings(method=methods, warmup=0.2, lr=0.3).resolved()
    own = [shared.of(method) for method in methods]
    assert own[0] is shared
    assert [one.lr for one in own] == [0.3, DEFAULT_LR["adamw"], 0.5, 0.3]
    assert [one.warmup for one in own] == [0.2, 0.2, 0.2, None]
    changed = {field.name for field in dataclasses.fields(Settings)}
    changed = {name for name in changed if getattr(own[3], name) != getattr(shared, name)}
    assert changed == {"schedule", "warmup"}


def test_a_method_with_its_own_settings_trains_as_if_all_had_them(tmp_path):
    own = "ucb:keep=0.5,period=1@lr=0.02,batch_size=16,schedule=step,milestone=0.5,momentum=0.8"
    assert main([*SMALL, "--method", "full", "--method", own, "--out", str(tmp_path / "own")]) == 0
    shared = ["--lr", "0.02", "--batch-size", "16", "--schedule", "step", "--milestone", "0.5"]
    shared += ["--momentum", "0.8", "--method", "ucb:keep=0.5,period=1", "--out", str(tmp_path / "shared")]
    assert main([*SMALL, *shared]) == 0
    mine, theirs = rows(tmp_path / "own"), rows(tmp_path / "shared")
    assert mine[own] == theirs["ucb:keep=0.5,period=1"]
    assert mine["full"] != mine[own]


def test_the_cost_is_relative_to_an_ordinary_run_of_the_shared_epochs(tmp_path):
    short, long = "random_dynamic:keep=0.5,period=1@epochs=2", "full@epochs=6,batch_size=40"
    methods = [part for method in ("full", short, long) for part in ("--method", method)]
    assert main([*SMALL, *methods, "--out", str(tmp_path / "one")]) == 0
    found = rows(tmp_path / "one")
    assert {name: row["epochs"] for name, row in found.items()} == {"full": 4, short: 2, long: 6}
    assert found[short]["cost_share"] == pytest.approx(0.5 * 2 / 4)
    assert found[long]["cost_share"] == pytest.approx(6 / 4)
    assert main(["train", "--resume", "--out", str(tmp_path / "one")]) == 0


def test_a_coreset_is_chosen_by_the_shared_run_and_trained_with_its_own_settings(tmp_path):
    plain, own = "el2n:first=2,keep=0.5", "el2n:first=2,keep=0.5@lr=0.01,strategy=P,normalize=mean1"
    weighted = "el2n:first=2,keep=0.5@weights=per_sample,epochs=2"
    methods = [part for method in (plain, own, weighted) for part in ("--method", method)]
    assert main([*SMALL, *methods, "--out", str(tmp_path / "one")]) == 0
    folder, found = RunFolder(tmp_path / "one"), rows(tmp_path / "one")
    first, second, third = (Subset.read(folder.subset(name, 0)) for name in (plain, own, weighted))
    assert first.ids.tolist() == second.ids.tolist() == third.ids.tolist()
    assert (first.weights, second.weights) == (None, None)
    assert third.weights is not None
    assert {name: row["epochs"] for name, row in found.items()} == {plain: 4, own: 8, weighted: 2}
    # Two epochs of scoring on all 120 samples, and the coreset of 60: all held against 4 epochs of 120.
    shares = {name: row["cost_share"] for name, row in found.items()}
    assert shares[plain] == pytest.approx((2 * 120 + 4 * 60) / (4 * 120))
    assert shares[own] == pytest.approx((2 * 120 + 8 * 60) / (4 * 120))
    assert shares[weighted] == pytest.approx((2 * 120 + 2 * 60) / (4 * 120))
    assert len(folder.scorings()) == 1


def test_settings_of_a_method_are_no_part_of_a_subsets_name():
    settings = Settings(method=(), subset="a@lr=5.parquet")
    assert settings.of("a@lr=5") is settings


def test_task_of_a_method_has_its_settings_and_stretch(tmp_path):
    shared = Settings(method=("full", "full@epochs=45"))
    data = experiment.load_data(shared)
    task = experiment.task_of("full@epochs=45", shared.policies()["full@epochs=45"], 0, data, shared)
    assert (task.settings.epochs, task.stretch) == (45, 1.5)
