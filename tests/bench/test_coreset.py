"""The protocol of two runs: one scoring run a seed, then a fresh model on each coreset; killed anywhere."""

import numpy as np
import pytest
import torch

from samplewise import recipes
from samplewise.bench import coreset, experiment, files, protocols
from samplewise.bench.data import ImageData
from samplewise.bench.folder import RunFolder
from samplewise.bench.settings import Settings
from samplewise.bench.train import Run, Task
from samplewise.coresets.table import ScoreTable
from samplewise.subset import Subset

N, EPOCHS, BATCH = 60, 4, 16
METHODS = ("full", "el2n:first=2,keep=0.5", "el2n:first=2,keep=0.2", "tdds:T=4,window=3", "moderate:keep=0.3")
PASSES = {"moderate:keep=0.3"}
TIMINGS = ("seconds", "cpu_seconds", "realised", "overhead")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Three classes that a small model can learn in part."""
    rng = np.random.default_rng(0)
    centres, held = rng.integers(0, 200, (3, 8, 8)), {}
    for split, count in (("train", N), ("test", 15)):
        y = np.arange(count) % 3
        x = centres[y] + rng.integers(0, 55, (count, 8, 8))
        held |= {f"{split}_x": x.astype(np.uint8), f"{split}_y": y}
    path = tmp_path_factory.mktemp("data") / "three.npz"
    np.savez(path, **held)
    return str(path)


def settings(source, method=METHODS, **changes):
    held = {"epochs": EPOCHS, "batch_size": BATCH, "seeds": 1, "threads": 1, "device": "cpu", "model": "mlp"}
    return Settings(data=source, method=method, **(held | changes)).resolved()


class Silent:
    """A listener that counts steps, and may stop the experiment as a kill would."""

    def __init__(self, dies_at=None):
        self.steps, self.dies_at, self.order = 0, dies_at, []

    def began(self, method, seed):
        self.order.append((method, seed))

    def stepped(self, progress):
        assert 0 < progress <= 1
        self.steps += 1
        if self.steps == self.dies_at:
            raise Killed

    def epoch_ended(self, row):
        pass

    def ended(self, row):
        pass

    def scored(self, row):
        pass


class Killed(BaseException):
    """Nothing catches it on the way out."""


def content(path):
    """All that a folder says, timings aside."""
    folder, said = RunFolder(path), {}
    for file in (folder.results_file, folder.curves_file):
        rows = files.read_lines(file)
        said[file.name] = [{k: v for k, v in row.items() if not k.startswith(TIMINGS)} for row in rows]
    for file in sorted(path.glob("*.parquet")):
        if file.name.startswith("scores"):
            table = ScoreTable.read(file)
            columns = {name: column.tolist() for name, column in table.columns.items()}
            said[file.name] = repr((columns, table.times_selected.tolist(), table.labels.tolist()))
        else:
            subset = Subset.read(file)
            weights = None if subset.weights is None else subset.weights.tolist()
            said[file.name] = (subset.ids.tolist(), weights, subset.weighting)
    return said


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    path, listener = tmp_path_factory.mktemp("whole") / "run", Silent()
    rows = experiment.run(path, settings(source), listener)
    return path, rows, listener


def test_one_scoring_run_serves_every_static_method(whole):
    path, rows, listener = whole
    assert [method for method, _ in listener.order] == ["full", "scoring", *METHODS[1:]]
    assert [row["method"] for row in rows] == list(METHODS)
    table = ScoreTable.read(RunFolder(path).scores("scoring", 0))
    # The two forms of el2n differ in keep only, so one record serves both.
    assert set(table.columns) == {
        "el2n:first=2,keep=0.5",
        "tdds:T=4,window=3",
        "moderate:keep=0.3",
        "moderate:keep=0.3_distance",
    }


def test_each_coreset_has_its_share_and_is_trained_on(whole):
    path, rows, _ = whole
    for method, k in zip(METHODS[1:], (30, 12, 30, 18), strict=True):
        subset = Subset.read(RunFolder(path).subset(method, 0))
        (row,) = [row for row in rows if row["method"] == method]
        assert len(subset) == k
        assert row["samples_backpropagated"] == EPOCHS * k
        times = ScoreTable.read(RunFolder(path).scores(method, 0)).times_selected
        assert (times > 0).nonzero().flatten().tolist() == subset.ids.tolist()


def test_el2n_s_coreset_is_the_top_of_its_own_training(whole, source):
    """The scoring run again by hand: the model of seed 0, read before each step, in plain sums."""
    path, _, _ = whole
    task = Task("scoring", recipes.full(), 0, experiment.load_data(settings(source)), settings(source))
    run, errors = Run(task), torch.zeros(2, N)
    loader = run.loader()
    for epoch in range(2):
        for batch in loader:
            with torch.no_grad():
                outputs = run.forward(batch.data)
            for i, probabilities, label in zip(
                batch.ids.tolist(), outputs.logits.softmax(1).tolist(), outputs.targets.tolist(), strict=True
            ):
                errors[epoch, i] = sum((p - (c == label)) ** 2 for c, p in enumerate(probabilities)) ** 0.5
            run.train_step(batch, epoch)
    mean = errors.mean(0)
    best = sorted(range(N), key=lambda i: (-float(mean[i]), i))[:30]
    assert Subset.read(RunFolder(path).subset("el2n:first=2,keep=0.5", 0)).ids.tolist() == sorted(best)


def test_every_method_is_charged_its_own_scoring_as_if_alone(whole):
    _, rows, _ = whole
    epochs = {"el2n:first=2,keep=0.5": 2, "el2n:first=2,keep=0.2": 2}
    for row in rows[1:]:
        own = 3 * EPOCHS * row["samples_backpropagated"] // EPOCHS
        scoring = 3 * N * epochs.get(row["method"], EPOCHS) + N * (row["method"] in PASSES)
        assert row["cost_without_scoring"] == own
        assert row["cost"] == own + scoring
        assert row["cost_share"] == pytest.approx((own + scoring) / (3 * EPOCHS * N))
        assert row["seconds"] > row["seconds_without_scoring"] > 0
    full = rows[0]
    assert full["cost"] == full["cost_without_scoring"] == 3 * EPOCHS * N


# 4 steps an epoch: `full` has 16, the scoring run 16 more, each coreset 8 (one in batches of 8).
@pytest.mark.parametrize("dies_at", [17, 23, 32, 33, 37, 42, 60])
def test_killed_anywhere_it_ends_as_if_it_had_not_been(tmp_path, monkeypatch, source, whole, dies_at):
    monkeypatch.setattr("samplewise.bench.train.EVERY", 0.0)
    monkeypatch.setattr("samplewise.bench.train.SPARING", 0)
    listener = Silent(dies_at)
    with pytest.raises(Killed):
        experiment.run(tmp_path / "run", settings(source), listener)
    again = Silent()
    experiment.run(tmp_path / "run", settings(source), again)
    assert content(tmp_path / "run") == content(whole[0])
    assert not list((tmp_path / "run").glob("checkpoint*"))
    # Whatever was on disk is not trained again, up to the step that was under way.
    assert listener.steps + again.steps <= whole[2].steps + 1


def test_killed_between_the_scores_and_their_record_scores_again_alike(tmp_path, monkeypatch, source, whole):
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "finish_scoring", lambda self, row: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            experiment.run(tmp_path / "run", settings(source), Silent())
    experiment.run(tmp_path / "run", settings(source), Silent())
    assert content(tmp_path / "run") == content(whole[0])


def test_strategy_e_shrinks_batches_and_strategy_p_stretches_epochs(tmp_path, source):
    method = ("random:keep=0.2",)
    ends = {}
    for strategy in "EP":
        listener = Silent()
        (row,) = experiment.run(tmp_path / strategy, settings(source, method, strategy=strategy), listener)
        ends[strategy] = (row["epoch"], row["samples_backpropagated"], listener.steps)
        assert row["cost_share"] == pytest.approx(0.2 if strategy == "E" else 1.0)
    # 12 of 60 samples: in batches of 8 for 4 epochs, or of 16 for 20.
    assert ends == {"E": (4, 48, 8), "P": (20, 240, 20)}
    told = settings(source, method, coreset_batch_size=4)
    experiment.run(tmp_path / "told", told, listener := Silent())
    assert listener.steps == 4 * 3


def test_methods_that_need_no_scores_train_no_scoring_model(tmp_path, source):
    method = ("random:keep=0.5", "el2n:keep=1")
    listener = Silent()
    rows = experiment.run(tmp_path / "run", settings(source, method), listener)
    assert listener.steps == 4 * (2 + 4)
    assert [row["cost"] for row in rows] == [row["cost_without_scoring"] for row in rows]
    assert len(Subset.read(RunFolder(tmp_path / "run").subset("el2n:keep=1", 0))) == N


def test_weights_reach_the_training(tmp_path, source):
    method = ("el2n:first=2,keep=0.5",)
    ends = {}
    for weights in (None, "none", "per_sample", "batch_mean"):
        path = tmp_path / str(weights)
        (row,) = experiment.run(
            path, settings(source, method, weights=weights, schedule="constant"), Silent()
        )
        ends[weights] = row["test_loss"]
        subset = Subset.read(RunFolder(path).subset(method[0], 0))
        assert (subset.weights is None) == (weights in (None, "none"))
    assert ends[None] == ends["none"]
    assert len(set(ends.values())) == 3


def test_weights_that_a_method_cannot_give_are_refused_before_anything_is_written(tmp_path, source):
    with pytest.raises(ValueError, match="moderate has no scores, or only an order"):
        experiment.run(tmp_path / "run", settings(source, ("moderate",), weights="per_sample"), Silent())
    assert not (tmp_path / "run").exists()


def test_each_seed_scores_for_itself(tmp_path, source):
    listener = Silent()
    experiment.run(tmp_path / "run", settings(source, ("el2n:first=1",), seeds=2), listener)
    assert listener.order == [(m, s) for s in (0, 1) for m in ("scoring", "el2n:first=1")]
    first, second = (Subset.read(RunFolder(tmp_path / "run").subset("el2n:first=1", s)) for s in (0, 1))
    assert first.ids.tolist() != second.ids.tolist()


def test_testing_now_and_then_changes_the_curve_alone(tmp_path, source, whole):
    (row,) = experiment.run(tmp_path / "run", settings(source, ("full",), test_every=3), Silent())
    curve = files.read_lines(RunFolder(tmp_path / "run").curves_file)
    assert [line["epoch"] for line in curve] == [3, 4]
    assert row["test_loss"] == whole[1][0]["test_loss"]


def subset_of(source, path, **changes):
    """A subset of the training images in a file, as `samplewise select` writes it."""
    run = Run(Task("x", recipes.full(), 0, experiment.load_data(settings(source)), settings(source)))
    provenance = run.selector.provenance() | {"k": 3, "keep": 0.05, "scoring": {"cost": 90.0, "seconds": 2.0}}
    held = {"ids": torch.tensor([3, 10, 50]), "weights": torch.tensor([1.0, 0.5, 0.25])}
    subset = Subset(provenance=provenance, **(held | changes))
    subset.to_parquet(path)
    return str(path)


def test_a_subset_from_a_file_trains_beside_other_methods_under_its_stem(tmp_path, source):
    held = settings(source, ("full",), subset=subset_of(source, tmp_path / "three.parquet"))
    rows = experiment.run(tmp_path / "run", held, Silent())
    assert [row["method"] for row in rows] == ["full", "three"]
    assert rows[1]["samples_backpropagated"] == EPOCHS * 3
    assert rows[1]["cost"] == 3 * EPOCHS * 3 + 90
    assert rows[1]["seconds"] == pytest.approx(rows[1]["seconds_without_scoring"] + 2.0)


def test_a_changed_subset_is_noticed_on_resume(tmp_path, source):
    held = settings(source, ("full",), subset=subset_of(source, tmp_path / "three.parquet"))
    with pytest.raises(Killed):
        experiment.run(tmp_path / "run", held, Silent(dies_at=3))
    subset_of(source, tmp_path / "three.parquet", ids=torch.tensor([3, 10, 51]))
    with pytest.raises(ValueError, match="cannot be continued: the subset changed since it started"):
        experiment.run(tmp_path / "run", held, Silent())


def test_a_subset_of_other_data_or_without_the_weights_asked_for_is_refused(tmp_path, source):
    held = {"seeds": 2, "subset": subset_of(source, tmp_path / "three.parquet", weights=None)}
    with pytest.raises(ValueError, match="the subset was chosen from other data"):
        experiment.run(tmp_path / "run", settings(source, (), label_noise=0.5, **held), Silent())
    with pytest.raises(ValueError, match="--weights per_sample needs a subset with weights"):
        experiment.run(tmp_path / "run", settings(source, (), weights="per_sample", **held), Silent())
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match=r"must not have the name of a method, got .*full"):
        settings(source, (), subset=subset_of(source, tmp_path / "full.parquet"))


def test_a_subset_from_a_file_is_weighted_as_asked(tmp_path, source):
    path = subset_of(source, tmp_path / "three.parquet")
    ends = {}
    for weights, normalize in ((None, None), ("batch_mean", None), ("none", None), (None, "mean1")):
        found = coreset.given(settings(source, (), subset=path, weights=weights, normalize=normalize))
        ends[weights, normalize] = (
            found.weighting,
            None if found.weights is None else found.weights.tolist(),
        )
    third = 1.75 / 3
    assert ends == {
        (None, None): ("per_sample", [1.0, 0.5, 0.25]),
        ("batch_mean", None): ("batch_mean", [1.0, 0.5, 0.25]),
        ("none", None): ("per_sample", None),
        (None, "mean1"): ("per_sample", pytest.approx([1 / third, 0.5 / third, 0.25 / third])),
    }


@pytest.mark.parametrize(("at", "cost"), [(0, N), (2, 2 * 3 * N + N)])
def test_scoring_stops_when_the_last_score_is_final(tmp_path, source, at, cost):
    listener, method = Silent(), f"entropy:at={at}"
    (row,) = experiment.run(tmp_path / "run", settings(source, (method,)), listener)
    # The coreset of 30 takes 2 steps in each of the 4 epochs.
    assert listener.steps == 4 * at + 4 * 2
    assert row["cost"] - row["cost_without_scoring"] == cost
    (scoring,) = RunFolder(tmp_path / "run").scorings().values()
    assert (scoring["epochs"], scoring["cost"]) == (at, cost)
    assert scoring["methods"][method]["cost"] == cost


def test_methods_that_differ_in_keep_alone_share_a_record():
    written = ("el2n:keep=0.3", "el2n:keep=0.7", "el2n:keep=0.7,first=2", "tdds:keep=0.3", "tdds:keep=0.7")
    written += ("random:keep=1", "aum:keep=0.1", "aum:keep=0.2,balance=True")
    lead = coreset.leaders({spec: recipes.parse(spec) for spec in written})
    assert lead["el2n:keep=0.3"] == lead["el2n:keep=0.7"] == "el2n:keep=0.7"
    assert lead["el2n:keep=0.7,first=2"] == "el2n:keep=0.7,first=2"
    # The published (T, window) of TDDS depend on keep.
    assert lead["tdds:keep=0.3"] != lead["tdds:keep=0.7"]
    assert "random:keep=1" not in lead
    assert lead["aum:keep=0.1"] != lead["aum:keep=0.2,balance=True"]


@pytest.mark.parametrize("name", ["cnn", "mlp"])
def test_a_run_s_forward_returns_features_and_head_that_give_its_logits(name):
    x = torch.randint(0, 256, (12, 1, 8, 8), dtype=torch.uint8)
    y = torch.arange(12) % 3
    data = ImageData("x", 3, x, y, x[:3], y[:3], torch.tensor([100.0]), torch.tensor([50.0]))
    run = Run(Task("x", recipes.full(), 0, data, Settings(model=name, device="cpu")))
    outputs = run.forward((x, y))
    weight, bias = outputs.head
    torch.testing.assert_close(outputs.features @ weight.T + bias, outputs.logits.detach())
    assert not outputs.features.requires_grad
    assert not weight.requires_grad


def test_a_proxy_scores_and_its_cost_counts_in_forwards_of_the_model(source, tmp_path):
    wanted = settings(source, ("svp:keep=0.5",), model="cnn", score_model="mlp")
    (row,) = experiment.run(tmp_path / "run", wanted, Silent())
    mlp = 2 * (64 * 256 + 256 * 256 + 256 * 3)
    cnn = 2 * (64 * 32 * 9 + 64 * 64 * 32 * 9 + 64 * 16 * 3)
    charged = row["cost"] - row["cost_without_scoring"]
    assert charged == pytest.approx(3 * N * EPOCHS * mlp / cnn)
    assert row["cost_without_scoring"] == 3 * (N // 2) * EPOCHS
    assert Subset.read(RunFolder(tmp_path / "run").subset("svp:keep=0.5", 0)).provenance["model"] == "Mlp"


def test_a_coreset_of_one_network_trains_others_and_goes_on_where_it_was_stopped(source, tmp_path):
    wanted = settings(source)
    data = experiment.load_data(wanted)
    task = Task("el2n", recipes.el2n(keep=0.5), 0, data, wanted)
    scored = coreset.score(coreset.scoring_task(task, {"el2n": task.policy}), tmp_path / "scoring.pt")
    subset = scored.selector.subset("el2n", keep=0.5)
    train = coreset.trainer(wanted, data, 0, tmp_path)
    rows = list(protocols.transfer(subset, train, ["mlp", "cnn"]))
    assert [(row["scored_with"], row["trained_with"]) for row in rows] == [("Mlp", "mlp"), ("Mlp", "cnn")]
    for row in rows:
        assert row["samples_backpropagated"] == (N // 2) * EPOCHS
        assert 0 <= row["test_accuracy"] <= 100
    again = coreset.trainer(wanted, data, 0, tmp_path)("cnn", subset)
    assert again["test_accuracy"] == rows[1]["test_accuracy"]
    assert again["samples_backpropagated"] == rows[1]["samples_backpropagated"]
