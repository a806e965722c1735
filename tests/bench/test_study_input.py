"""Studies that cannot be: each is refused before its first run, with what to change."""

from pathlib import Path

import numpy as np
import pytest
import torch

from samplewise import recipes
from samplewise.bench import Study
from samplewise.bench.study.jobs import canonical
from samplewise.policy import REGISTRY
from samplewise.subset import Subset

TASK = 'data = "digits"\nmodel = "mlp"\nepochs = 4\nlimit = 100\n'


@pytest.mark.parametrize(
    ("about", "task", "said"),
    [
        ('methods = ["ucb"]\nseed = 3', TASK, "unknown key 'seed'. Did you mean 'seeds'"),
        ('methods = ["ucb"]', TASK + "epoch = 3", "unknown key 'epoch'. Did you mean 'epochs'"),
        ('methods = [{method = "ucb", grit = {}}]', TASK, "unknown key 'grit'. Did you mean 'grid'"),
        ('methods = [{method = "ucb", grid = {kep = [1]}}]', TASK, "no parameter 'kep'.*Did you mean 'keep'"),
        ('methods = [{method = "ucb", grid = {keep = 1}}]', TASK, "grid.keep must be a list"),
        ('methods = [{method = "ucb", grid = 3}]', TASK, "grid must be a table, got 3"),
        ('methods = [{method = "ucb", run = {l = 0.1}}]', TASK, "unknown setting 'l'"),
        ('methods = ["ucb@lrr=0.1"]', TASK, "unknown setting 'lrr'. Did you mean 'lr'"),
        ('methods = ["ucb@seeds=3"]', TASK, "seeds cannot be set for one method"),
        ('methods = ["ubc"]', TASK, "unknown method 'ubc'. Did you mean 'ucb'"),
        ('methods = ["ucb"]\nnames = 3', TASK, "names must be a table"),
        ('methods = ["ucb"]\nnames = {ubc = "a"}', TASK, "unknown method 'ubc'"),
        ('methods = ["ucb"]\nnames = {rs2 = "a"}', TASK, "names must be of methods of the study, got 'rs2'"),
        ('methods = ["ucb"]\nnames = {ucb = " "}', TASK, "the name of ucb must be a text"),
        ('methods = ["ucb", "rs2"]\nnames = {ucb = "rs2"}', TASK, "names must differ"),
        ("methods = [3]", TASK, "a method must be a text, or a table"),
        ('methods = "ucb"', TASK, "must have a list of methods, got 'ucb'"),
        ("methods = []", TASK, "must name at least one method, got none"),
        ('methods = ["full"]', TASK, "must not hold full"),
        ('methods = ["recipes.full()"]', TASK, "must not hold full"),
        (
            'methods = ["ucb:keep=0.3,period=10", "ucb:period=10,keep=0.30"]',
            TASK,
            "must name each method once",
        ),
        ('methods = ["ucb:c=1", "ucb"]', TASK, "must name each method once"),
        ('methods = ["ucb"]\nseeds = 0', TASK, "seeds must be in .1, 1000., got 0"),
        ('methods = ["ucb"]\nvalidation = 2', TASK, "validation must be in .0, 0.5., got 2"),
        ('methods = ["ucb"]\nbudgets = 0.3', TASK, "budgets must be a list of values of keep, got 0.3"),
        ('methods = ["ucb"]\nmetric = "acuracy"', TASK, "metric must be one of .*Did you mean 'accuracy'"),
        ('methods = ["ucb"]\nhigher = false', TASK, "unknown key 'higher'"),
        ('methods = ["ucb"]\nepochs = 4', TASK, "unknown key 'epochs'. It belongs under .task."),
        ('methods = ["ucb"]', TASK + "seeds = 3", "unknown key 'seeds'. It belongs above .task."),
        ('methods = ["ucb"]', TASK + 'methods = ["ucb"]', "unknown key 'methods'. It belongs above .task."),
        ('methods = ["ordered_sgd:keep=0.5"]\nbudgets = [0.3]', TASK, "budgets must apply to a method"),
        ('methods = ["ucb"]\ndelta = 0', TASK, "delta must be > 0, got 0"),
        ('methods = ["ucb"]', TASK.replace("4", "1"), "epochs must be >= 2"),
        ('methods = ["ucb"]', TASK.replace('"digits"', "3"), "data must be text, got 3"),
        ('methods = ["ucb"]', TASK.replace("epochs = 4\n", ""), "must have epochs"),
        ('methods = ["ucb"]', TASK.replace("100", '"x"'), "limit must be a whole number"),
    ],
)
def test_bad_input_is_refused(tmp_path: Path, about: str, task: str, said: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(f"{about}\n[task]\n{task}")
    with pytest.raises(ValueError, match=said):
        Study.load(path)
    assert [file.name for file in tmp_path.iterdir()] == ["wrong.toml"]


def test_jobs_must_be_at_least_one(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(f'methods = ["ucb"]\n[task]\n{TASK}')
    with pytest.raises(ValueError, match="jobs must be a whole number >= 1, got 0"):
        Study.load(path).run(jobs=0)
    with pytest.raises(ValueError, match="jobs must be a whole number >= 1, got True"):
        Study.load(path).run(jobs=True)


def test_all_methods_that_cannot_run_are_named_before_the_first_run(tmp_path: Path) -> None:
    Subset(torch.arange(50), provenance={"n": 10**6}).to_parquet(tmp_path / "other.parquet")
    path = tmp_path / "study.toml"
    wrong = [f"fixed:subset={tmp_path}/other.parquet", "dynams_proxy@proxy_width=0.01", "tdds:window=50"]
    path.write_text(f"controls = false\nmethods = {[*wrong[::2], 'ucb']!r}\n[task]\n{TASK}")
    with pytest.raises(ValueError, match=r"2 of 3 methods cannot run here\. fixed.* tdds:window=50: "):
        Study.load(path).run()
    assert not (tmp_path / "study" / "rows.jsonl").exists()


def test_every_recipe_has_an_identity(tmp_path: Path) -> None:
    """Recipes that need a file: its content counts, and not its path."""
    needs = {"fixed", "always_set", "rho_loss", "rho_tokens", "color"}
    for name in recipes.all().keys() - needs:
        assert canonical(name) == [name, 1, {}, {}]
    assert canonical("auto_assist:base=0.5") == ["auto_assist", 1, {"base": "0.5"}, {}]
    assert needs <= REGISTRY.keys()
    made = {}
    for name, ids in (("one", 50), ("copy", 50), ("two", 40)):
        Subset(torch.arange(ids), provenance={"n": 100}).to_parquet(tmp_path / f"{name}.parquet")
        made[name] = canonical(f"always_set:subset={tmp_path / name}.parquet")
    assert made["one"] == made["copy"] != made["two"]


def test_top_5_accuracy_needs_more_than_5_classes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 255, (80, 8, 8), dtype=np.uint8), np.arange(80) % 4
    np.savez(tmp_path / "four.npz", train_x=x, train_y=y, test_x=x, test_y=y)
    path = tmp_path / "study.toml"
    task = TASK.replace("digits", "four.npz").replace("limit = 100\n", "")
    path.write_text(f'metric = "top5_accuracy"\nmethods = ["ucb"]\n[task]\n{task}')
    with pytest.raises(ValueError, match="top5_accuracy must have more than 5 classes, got 4 in"):
        Study.load(path).run()
    assert not (tmp_path / "study" / "rows.jsonl").exists()
