"""Strategy P of methods that choose while they train: as many samples as ordinary training, or refused."""

from functools import cache

import pytest

from samplewise import recipes, testing
from samplewise.bench import experiment, files
from samplewise.bench.protocols import epochs_for_samples, planned_samples
from samplewise.bench.settings import Settings
from samplewise.bench.study.images import ImageTrainer
from samplewise.bench.study.jobs import Job
from samplewise.bench.train import Run
from samplewise.cli import main
from samplewise.policy import Policy
from samplewise.report import pictures
from samplewise.testing.trace import build

VARYING = {
    *("alignprune", "auto_assist", "ies", "importance_sampling", "infobatch", "kakurenbo", "noise_budget"),
    *("selective_backprop", "seta"),
}
NEEDS = ("greats_last_layer",)
"""A target set, for which the command has no option."""
DYNAMIC = [
    recipe
    for recipe in testing.recipes()
    if recipe.level not in ("static", "token") and recipe.name not in NEEDS
]
"""Methods that choose tokens need a language model."""
SMALL = ["train", "--limit", "120", "--epochs", "4", "--batch-size", "32", "--seeds", "1"]
SMALL += ["--threads", "1", "--model", "mlp", "--device", "cpu"]


@cache
def data():
    """120 digits."""
    return experiment.load_data(Settings(limit=120))


def counted(policy, epochs, tmp_path):
    """The samples that a training back-propagates."""
    settings = Settings(limit=120, epochs=epochs, batch_size=32, lr=0.01, model="mlp", device="cpu")
    run = Run(experiment.Task("one", policy, 0, data(), settings))
    for epoch in range(epochs):
        run.train_epoch(run.loader(), epoch, tmp_path / "c.pt", lambda done: None)
    return run.selector.ledger.samples_backpropagated


@pytest.mark.parametrize("recipe", DYNAMIC, ids=lambda recipe: recipe.name)
def test_the_planned_samples_are_those_that_a_training_counts(tmp_path, recipe):
    policy = build(recipe, 120, 0.6, period=2)
    planned = planned_samples(policy, 120, 32, 5) if isinstance(policy, Policy) else None
    assert (planned is None) == (recipe.name in VARYING)
    if planned is not None:
        assert counted(policy, 5, tmp_path) == planned
        longer = epochs_for_samples(policy, 120, 32, 5)
        near = range(max(5, longer - 2), longer + 3)
        off = {epochs: abs(planned_samples(policy, 120, 32, epochs) - 5 * 120) for epochs in near}
        assert off[longer] == min(off.values())


def test_a_constant_share_has_one_over_it_times_the_epochs():
    for keep, epochs, expected in ((0.3, 200, 667), (0.5, 7, 14), (1.0, 9, 9), (0.4, 5, 13)):
        for recipe in (recipes.random_dynamic, recipes.rs2, recipes.random_batch):
            assert epochs_for_samples(recipe(keep=keep), 1000, 50, epochs) == expected


def test_annealing_epochs_count_as_whole_ones():
    # 20 epochs: at e epochs in all, 2 max(1, floor(e / 10)) are whole and the others train a half.
    found = epochs_for_samples(recipes.evolved_sampling(keep=0.5, anneal=0.1), 1000, 50, 20)
    whole = {e: 2 * max(1, e // 10) for e in range(20, 50)}
    seen = {e: whole[e] + (e - whole[e]) / 2 for e in whole}
    assert abs(seen[found] - 20) == min(abs(value - 20) for value in seen.values())


def test_the_command_trains_dynamic_methods_on_as_many_samples(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "draw", lambda *_: [])
    short = "random_dynamic:keep=0.5,period=1@strategy=E"
    methods = ("full", "rs2:keep=0.5", "random_batch:keep=0.25", "random:keep=0.5", short)
    options = [part for method in methods for part in ("--method", method)]
    assert main([*SMALL, *options, "--strategy", "P", "--out", str(tmp_path / "one")]) == 0
    rows = {row["method"]: row for row in files.read_lines(tmp_path / "one" / "results.jsonl")}
    assert {name: row["epochs"] for name, row in rows.items()} == dict(
        zip(methods, (4, 8, 16, 8, 4), strict=True)
    )
    for name, row in rows.items():
        assert row["samples_backpropagated"] == (240 if name == short else 480)
        assert row["cost_share"] == pytest.approx(0.5 if name == short else 1)


def test_a_study_trains_on_as_many_samples_too(tmp_path):
    settings = Settings(
        data="digits", limit=120, epochs=4, batch_size=32, model="mlp", device="cpu"
    ).resolved()
    seen = {}
    for method in ("rs2:keep=0.5@strategy=P", "rs2:keep=0.5"):
        trainer = ImageTrainer(settings, 0.2, tmp_path, (method,), "accuracy")
        seen[method] = trainer.run(Job(method, 4, 0, 1.0), lambda done: None)
    n = seen["rs2:keep=0.5"]["n"]
    assert [row["samples_backpropagated"] for row in seen.values()] == [4 * n, 2 * n]


@pytest.mark.parametrize("method", ["infobatch", "infobatch@lr=0.1", "auto_assist", "kakurenbo"])
def test_a_method_whose_samples_depend_on_scores_is_refused_by_name(tmp_path, capsys, method):
    out = tmp_path / "one"
    assert main([*SMALL, "--method", "full", "--method", method, "--strategy", "P", "--out", str(out)]) == 2
    error = capsys.readouterr().err
    hint = f"{method}{',' if '@' in method else '@'}strategy=E"
    assert f"that of {method} depends on what it measures" in error
    assert hint in error
    assert not out.exists()
    settings = Settings(method=(hint,), limit=120, epochs=4, strategy="P")
    assert experiment.task_of(hint, settings.policies()[hint], 0, data(), settings).settings.epochs == 4
