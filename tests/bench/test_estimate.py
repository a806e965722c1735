"""What a study is said to take, before it runs."""

from pathlib import Path
from statistics import median

import pytest

from samplewise import recipes
from samplewise.bench import Study
from samplewise.bench.study import toy
from samplewise.bench.study.estimate import Part
from samplewise.bench.study.toy import spent
from samplewise.cli import main

TASK = '[task]\ndata = "digits"\nmodel = "mlp"\nepochs = 4\nlimit = 300\n'
_FILES = ("fixed", "always_set", "rho_loss", "rho_tokens", "color", "greats_last_layer")
SMALL = 'seeds = 2\ncontrols = false\nmethods = ["infobatch", "evolved_sampling", "aum:keep=0.5"]\n'


def study_file(tmp_path: Path, text: str = SMALL) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(text + TASK)
    return path


@pytest.mark.parametrize(
    ("method", "cost"),
    [
        ("full", 8.0),
        ("rs2:keep=0.25", 2.0),
        ("random_batch:keep=0.5", 4.0),
        ("loss_sampling:keep=0.25", 8 * (1 / 3 + 0.25)),  # a forward of all, a step on a quarter
        ("random:keep=0.3", 8 * 0.3),
        ("aum:keep=0.5", 8 + 8 * 0.5),  # a whole scoring run
        ("grand:at=2,keep=0.5", 2 + 8 * 0.5),
    ],
)
def test_the_cost_of_a_method_is_that_of_the_arithmetic(method: str, cost: float) -> None:
    """In epochs of full training, out of 8."""
    assert spent(method, 8).cost(8) == pytest.approx(cost, rel=0.02)


def test_a_cost_that_depends_on_losses_is_near_that_of_real_training(tmp_path: Path) -> None:
    """Every method of the study, against the ledger of its runs."""
    study = Study.load(study_file(tmp_path))
    found = study.estimate()
    before = {part.name: part.cost for part in found.parts}
    for part in found.scoring:
        before[part.name.removeprefix("scoring run for ")] += part.cost
    for line in study.run().lines:
        assert before[line.name] == pytest.approx(line.cost, rel=0.15), line.name


def test_a_scoring_run_counts_once_for_all_keeps_of_a_method(tmp_path: Path) -> None:
    """Two seeds; aum at two shares, tdds at one. Each scoring run is a full training here."""
    methods = '["aum:keep=0.5", "aum:keep=0.25", "tdds:T=4,window=3,keep=0.5"]\n'
    path = study_file(tmp_path, f"seeds = 2\ncontrols = false\nmethods = {methods}")
    study = Study.load(path)
    found = study.estimate()
    assert {part.name: (part.runs, part.cost) for part in found.scoring} == {
        "scoring run for aum:keep=0.5, aum:keep=0.25": (2, 1.0),
        "scoring run for tdds:T=4,window=3,keep=0.5": (2, 1.0),
    }
    own = {part.name: part.cost for part in found.parts if not part.name.startswith("full")}
    assert own == pytest.approx(dict(zip(study.spec.methods, (0.5, 0.25, 0.5), strict=True)))
    ladder = sum(part.runs * part.cost for part in found.parts if part.name.startswith("full"))
    assert found.cost == pytest.approx(ladder + 2 * (0.5 + 0.25 + 0.5 + 1 + 1))
    study.run()
    more = Study.load(path, methods=["aum:keep=0.3"]).estimate()
    assert not more.scoring, "the scores are there"


def test_finished_runs_are_not_estimated(tmp_path: Path) -> None:
    """Rungs beyond full training are foreseen: the scoring run makes a method dearer than that."""
    study = Study.load(study_file(tmp_path))
    found = study.estimate()
    assert {part.name for part in found.parts if part.name.startswith("full")} == {
        f"full, {epochs} epoch{'s' * (epochs > 1)}" for epochs in (1, 2, 3, 4, 5, 6)
    }
    assert found.runs == 2 * (6 + 3)
    study.run()
    after = study.estimate()
    assert after.runs == 0
    assert after.finished >= found.runs


def test_seconds_are_those_of_the_rows(tmp_path: Path) -> None:
    """A further seed takes as long as the first ones; a new method as long as its cost says."""
    path = study_file(tmp_path)
    Study.load(path).run()
    study = Study.load(path, seeds=3, methods=["ucb:keep=0.5,period=1"])
    rows = list(study.plan.rows)
    parts = {part.name: part for part in study.estimate().parts}
    own = [row["wall"] for row in rows if row["method"] == "infobatch"]
    assert parts["infobatch"].seconds == pytest.approx(sum(own) / 2)
    assert parts["infobatch"].runs == 1
    new: Part = parts["ucb:keep=0.5,period=1"]
    rate = sum(row["wall"] for row in rows) / sum(row["cost"] for row in rows)
    assert new.seconds == pytest.approx(rate * new.cost * 3 * rows[0]["n"] * 4, rel=0.15)


def test_every_recipe_has_an_estimate() -> None:
    """A recipe that needs a file of scores, or a target set, is the exception."""
    for name, made in recipes.all().items():
        if made.__module__.startswith("samplewise.") and name not in _FILES:
            assert 0 < spent(name, 20).cost(20) < 60, name


def test_a_dry_run_trains_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = study_file(tmp_path)
    assert main(["bench", str(path), "--dry-run", "--jobs", "2"]) == 0
    said = capsys.readouterr().out
    assert "18 runs and 2 scoring runs to do, 0 finished" in said
    assert "with 2 processes" in said
    assert "GiB of memory" in said
    assert [entry.name for entry in tmp_path.iterdir()] == ["small.toml"]


def test_timed_steps_foresee_the_seconds_of_runs(tmp_path: Path) -> None:
    """Roughly: these runs take a tenth of a second. The page of the judge has a measurement."""
    study = Study.load(study_file(tmp_path))
    found = study.estimate()
    before = {part.name: part.seconds for part in found.parts}
    for part in found.scoring:
        before[part.name.removeprefix("scoring run for ")] += part.seconds
    rows = study.run() and list(study.plan.rows)
    shares = [
        before[row["method"]] / row["wall"] for row in rows if row["method"] in before and row["seed"] == 1
    ]
    assert 0.4 < median(shares) < 2.5


def test_a_longer_full_training_is_not_rehearsed(monkeypatch):
    """Its shares are known, and the time around a step is that of the short one."""
    short = toy.spent("full", 5)
    monkeypatch.setattr(toy, "rehearse", None)
    assert toy.spent("full", 417) == toy.Spent(1.0, 1.0, 0.0, around=short.around)
