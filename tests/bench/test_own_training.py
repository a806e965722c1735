"""`Study(train=fn)`: a training that does not do what the study needs is told in its first run."""

import pickle
import traceback

import numpy as np
import pytest
import torch
from torch import nn

import samplewise as sw
from samplewise.bench import Study
from samplewise.bench.study import running
from samplewise.bench.study.study import FailedRunsError

DATA = torch.utils.data.TensorDataset(torch.randn(40, 3), torch.arange(40) % 2)


def trains(policy, seed, epochs, report, reports=1, tested=True, length=None, given=None, spoilt=False):
    """A training with a made-up result that grows with the epochs."""
    length, model = length or epochs, nn.Sequential(nn.Linear(3, 2))
    result = {"accuracy": 50 + 5 * epochs + float(np.random.default_rng([seed, epochs]).standard_normal())}
    about = {"model": model, "epochs": length, "batch_size": 10, "seed": seed}
    selector = sw.Selector(given or policy, DATA, sw.classifier(model, head="0"), **about)
    loader = selector.loader()
    for _ in range(length):
        for batch in loader:
            selector.loss(batch)
        for _ in range(reports):
            report(selector, result, test=(lambda: result) if tested else None)
    return {"accuracy": float("nan")} if spoilt and (seed, epochs) == (1, 2) else result


def study(folder, seeds=5, methods=("infobatch",), **options):
    about = {name: options.pop(name) for name in ("at",) if name in options}

    def train(policy, seed, epochs, report):
        return trains(policy, seed, epochs, report, **options)

    return Study(train, methods, epochs=2, seeds=seeds, controls=False, out=folder, key="1", **about)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"reports": 0}, r"train must call report.*never called"),
        ({"reports": 2}, r"report once after every epoch: 1 times, got one more"),
        ({"length": 3}, r"Selector\(epochs=...\) must be 1, got 3"),
        ({"given": "ucb"}, r"must be recipes.full\(\), got recipes.ucb"),
        ({"tested": False, "at": "best"}, r"report\(test=...\) must give the test results.*at=\"last\""),
    ],
)
def test_a_wrong_training_is_told_what_to_change(tmp_path, wrong, said):
    with pytest.raises(FailedRunsError, match=f"full, 1 epoch, seed 0 failed: .*{said}") as failed:
        study(tmp_path, **wrong).run()
    assert "\n" not in str(failed.value)
    assert not (tmp_path / "rows.jsonl").exists()


def test_a_training_that_stops_early_is_refused(tmp_path):
    def train(policy, seed, epochs, report):
        count = iter([report, *[lambda *_, **__: None] * 9])
        return trains(policy, seed, epochs, lambda *a, **k: next(count)(*a, **k))

    with pytest.raises(FailedRunsError, match=r"full, 2 epochs.*2 times, got 1 reports"):
        Study(train, ["infobatch"], epochs=2, seeds=1, controls=False, out=tmp_path, key="1").run()


def test_a_training_of_other_arguments_is_refused_before_the_first_run(tmp_path):
    with pytest.raises(TypeError, match=r"train must take train\(policy, .*got train\(policy, seed\)"):
        Study(lambda policy, seed: {}, ["infobatch"], epochs=2, out=tmp_path)


def test_a_method_that_needs_a_scoring_run_is_refused_before_the_first_run(tmp_path):
    with pytest.raises(ValueError, match=r"'el2n': your own training .*fixed:subset=FILE"):
        study(tmp_path, methods=("infobatch", "el2n")).run()
    assert not (tmp_path / "rows.jsonl").exists()


def test_methods_must_be_a_list(tmp_path):
    with pytest.raises(ValueError, match=r"methods must be a list of texts, got 'infobatch'"):
        study(tmp_path, methods="infobatch")


def test_a_run_of_full_that_diverged_is_said(tmp_path):
    results = study(tmp_path, spoilt=True).run()
    assert results.about_the_task == (
        "A run of full training diverged: its accuracy is not finite. So no verdicts."
    )
    assert not results.verdicts


def test_test_results_of_some_runs_only_leave_out_the_best_epoch(tmp_path):
    def train(policy, seed, epochs, report):
        return trains(policy, seed, epochs, report, tested=not seed)

    results = Study(train, ["infobatch"], epochs=2, seeds=5, controls=False, out=tmp_path, key="1").run()
    (line,) = results.of("method")
    assert line.verdict
    assert not [axis for axis in line.beside if "best" in axis]


def test_an_error_of_a_training_keeps_its_traceback(tmp_path):
    def train(policy, seed, epochs, report):
        raise KeyError("two\nlines")

    with pytest.raises(FailedRunsError, match=r"failed: KeyError: 'two.nlines'\. 2 more") as failed:
        Study(train, ["infobatch"], epochs=2, seeds=5, controls=False, out=tmp_path, key="1").run()
    shown = "".join(traceback.format_exception(failed.value))
    assert 'raise KeyError("two' in shown


class NeedsError(Exception):
    """Copies of it need two arguments, and get one."""

    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


def test_an_error_reaches_another_process_whatever_its_class():
    found = pickle.loads(pickle.dumps(running._sendable(NeedsError("a", "b"))))
    assert running.said(found) == "RuntimeError: NeedsError: a b."
    own = pickle.loads(pickle.dumps(running._sendable(ValueError("lr must be > 0."))))
    assert running.said(own) == "lr must be > 0."
    assert "ValueError" in own.__notes__[0]
