"""The static level by the front door: one recording for several methods, then a fresh model on a coreset."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import samplewise as sw
from samplewise.data.outputs import Outputs
from samplewise.engine.buffer import CHUNK, Buffer
from samplewise.testing import Trace, recipes, run
from tests.seams.toys import CLASSES, N, Net, Random, Tensors, forward_of, make, plainly, step, train

SEVERAL = {
    "el2n": sw.recipes.el2n(keep=0.5, first=2),
    "aum": sw.recipes.aum(keep=0.5),
    "grand": sw.recipes.grand(keep=0.5),
    "whole": sw.recipes.grand(keep=0.5, layer="full"),
    "entropy": sw.recipes.entropy(keep=0.5),
    "herding": sw.recipes.herding(keep=0.5),
}


def recorded(policy, **more):
    """A selector and a model after a whole training."""
    torch.manual_seed(1)
    selector, model = make(policy, model=Net(dropout=0.0), **more)
    train(selector, model, selector.loader())
    return selector, model


@pytest.fixture(scope="module")
def several():
    return recorded(sw.Recorder(SEVERAL))


def test_a_recorder_trains_as_full_does(several):
    _, plain = recorded("full")
    assert all(torch.equal(a, b) for a, b in zip(several[1].parameters(), plain.parameters(), strict=True))


@pytest.mark.parametrize("name", sorted(SEVERAL))
def test_one_training_gives_each_method_what_its_own_would(several, name):
    selector, _ = several
    alone, _ = recorded(sw.Recorder({name: SEVERAL[name]}))
    assert torch.equal(alone.score(name), selector.score(name))
    assert alone.subset(name, keep=0.25) == selector.subset(name, keep=0.25)
    if selector.final[name] == 4:  # a policy of its own trains on its coreset once the score is final
        own, _ = recorded(SEVERAL[name])
        assert torch.equal(own.score(), selector.score(name))


def test_the_passes_are_charged_once_and_each_method_as_if_alone(several):
    selector, model = several
    ledger = selector.ledger
    # Before epoch 1 both gradient norms share a pass, after epoch 3 entropy and herding share one.
    assert ledger.scoring_forwards == N + N + N
    assert ledger.scoring_backwards == N
    assert ledger.cost == 3 * 4 * N + 3 * N + 2 * N
    without_gradient = sum(rows for rows, _, grad in model.calls if not grad)
    assert without_gradient == 2 * N
    charged = {name: selector.subset(name).provenance["scoring"]["cost"] for name in SEVERAL}
    assert charged == {
        "el2n": 6 * N, "aum": 12 * N, "grand": 4 * N, "whole": 6 * N, "entropy": 13 * N, "herding": 13 * N,
    }  # fmt: skip


def test_whole_gradient_norms_are_those_of_autograd():
    data, model = Tensors(), Net(dropout=0.0)
    policy = sw.recipes.grand(at=0, layer="full")
    selector, _ = make(policy, data, model=model, forward=forward_of(model), epochs=2, batch_size=16)
    next(iter(selector.loader()))  # the pass comes before the first batch
    found, again = selector.score(), copy.deepcopy(model).eval()
    for i in (0, 7, 39):
        again.zero_grad()
        F.cross_entropy(again(data.x[i : i + 1]), data.targets[i : i + 1]).backward()
        norm = torch.cat([p.grad.flatten() for p in again.parameters()]).norm()
        assert found[i].item() == pytest.approx(norm.item(), rel=1e-4)


def test_a_fresh_model_trains_on_a_fixed_coreset_with_its_weights(several):
    recorder, _ = several
    subset = recorder.subset("el2n", keep=0.25, weights="per_sample")
    selector, model = make(sw.recipes.fixed(subset), batch_size=10)
    seen = train(selector, model, selector.loader())
    assert all(sorted(i for batch in epoch for i in batch) == subset.ids.tolist() for epoch in seen)
    score = recorder.score("el2n").double().numpy()
    scaled = (score - score.min()) / (score.max() - score.min())
    assert np.allclose(
        subset.weights, np.where(scaled > 0, scaled, np.sort(scaled)[1])[subset.ids], atol=1e-6
    )
    ledger = selector.ledger
    assert ledger.cost_without_scoring == 3 * 4 * N // 4
    assert ledger.cost == ledger.cost_without_scoring + 6 * N
    assert "of this, scoring run" in str(ledger)


@pytest.mark.parametrize("weighting", ["per_sample", "batch_mean"])
def test_weights_act_on_samples_or_on_batches(weighting):
    subset = sw.Subset(torch.tensor([1, 2, 5, 8]), torch.tensor([0.5, 2.0, 1.0, 0.25]), {}, weighting)
    selector, model = make(sw.recipes.fixed(subset), batch_size=4, model=Net(dropout=0.0))
    batch = next(iter(selector.loader()))
    again = copy.deepcopy(model)
    loss = selector.loss(batch)
    x, y = batch.data
    plain = F.cross_entropy(again(x), y, reduction="none")
    of = dict(zip(subset.ids.tolist(), subset.weights.tolist(), strict=True))
    weights = torch.tensor([of[i] for i in batch.ids.tolist()])
    wanted = (weights * plain).mean() if weighting == "per_sample" else plain.mean() * weights.mean()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_a_coreset_of_other_data_is_refused(tmp_path, several):
    subset = several[0].subset("aum")
    subset.to_parquet(tmp_path / "aum.parquet")
    policy = sw.recipes.fixed(tmp_path / "aum.parquet")
    assert make(policy)[0].plan(0).ids.equal(subset.ids)
    other = Tensors()
    other.x[0, 1] += 1
    with pytest.raises(ValueError, match="chosen from other data"):
        make(policy, other)
    relabelled = Tensors()
    relabelled.targets = (relabelled.targets + 1) % CLASSES
    with pytest.raises(ValueError, match="chosen from other data"):
        make(policy, relabelled)
    with pytest.raises(ValueError, match=f"chosen from {N} samples, but this data set has 39"):
        make(policy, Tensors(39))
    with pytest.raises(ValueError, match=f"data with id {N}, but this data set has {N}"):
        make(sw.recipes.fixed(sw.Subset(torch.tensor([3, N]))))
    with pytest.raises(ValueError, match="has random augmentation"):
        make(policy, Random())
    make(policy, Random(), scoring=sw.Scoring(dataset=Tensors()))


@pytest.mark.parametrize(
    ("ids", "weights", "words"),
    [
        ([2, 2], None, "must hold each id once, but id 2 is repeated"),
        ([-1, 2], None, "must be >= 0"),
        ([], None, "at least one"),
        ([1, 2], [1.0, 0.0], "finite and above 0"),
    ],
)
def test_a_subset_that_makes_no_sense_is_refused(ids, weights, words):
    with pytest.raises(ValueError, match=words):
        sw.recipes.fixed(sw.Subset(torch.tensor(ids, dtype=torch.int64), weights))


@pytest.mark.parametrize("recipe", recipes(), ids=lambda recipe: recipe.name)
def test_no_method_of_a_recorder_may_have_the_name_of_a_column(recipe):
    if recipe.level != "static" or recipe.toy is not None:
        return
    trace = Trace(n=12, epochs=4)
    columns = run(recipe(), trace, labels=trace.targets).selector.table().columns
    for column in columns.keys() - {recipe.name}:
        with pytest.raises(ValueError, match=f"'{column}' is also the name of a column of '{recipe.name}'"):
            sw.Recorder({recipe.name: recipe(), column: "el2n"})


def test_what_a_recorder_cannot_take_is_refused():
    with pytest.raises(ValueError, match="takes static methods, got 'ucb'"):
        sw.Recorder(["ucb"])
    with pytest.raises(ValueError, match=r"two methods named 'tdds'\. Give a mapping"):
        sw.Recorder([sw.recipes.tdds(0.3), sw.recipes.tdds(0.5)])
    with pytest.raises(TypeError, match="a list of static methods"):
        sw.Recorder("el2n")
    with pytest.raises(ValueError, match="at least one"):
        sw.Recorder([])
    with pytest.raises(ValueError, match="'moderate_distance' is also the name of a column of 'moderate'"):
        sw.Recorder({"moderate": "moderate", "moderate_distance": "el2n"})
    with pytest.raises(ValueError, match="be one of id, label"):
        sw.Recorder({"label": "el2n"})
    with pytest.raises(ValueError, match=r"got a fixed subset\. Leave it out"):
        sw.Recorder([sw.recipes.fixed(sw.Subset(torch.arange(3)))])
    selector = sw.Selector(sw.Recorder(["el2n", "aum"]), 8, epochs=2)
    with pytest.raises(ValueError, match=r"'eln2' was not recorded\. Did you mean 'el2n'"):
        selector.subset("eln2")
    with pytest.raises(ValueError, match="method must be one of el2n, aum, got None"):
        selector.subset()
    with pytest.raises(ValueError, match="only static methods keep a coreset"):
        sw.Selector("ucb", 8, epochs=2).subset()


def test_methods_that_need_every_sample_refuse_a_dropped_last_batch():
    selector, _ = make(sw.recipes.tdds(T=4, window=3))
    with pytest.raises(ValueError, match=r"got True: tdds must see every sample in every epoch"):
        selector.loader(drop_last=True)
    make("aum")[0].loader(drop_last=True)


def test_a_missing_and_a_repeated_sample_are_named():
    trace = Trace(12, 4)
    selector = sw.Selector(sw.recipes.tdds(T=4, window=3), 12, epochs=4)
    selector.plan(0)
    selector.observe(torch.arange(11), trace.outputs(torch.arange(11), 0))
    with pytest.raises(ValueError, match=r"tdds in epoch 0.*\[11\]"):
        selector.plan(1)
    selector = sw.Selector(sw.recipes.tdds(T=4, window=3), 12, epochs=4)
    selector.plan(0)
    for ids in (torch.arange(12), torch.tensor([5, 3])):
        selector.observe(ids, trace.outputs(ids, 0))
    with pytest.raises(ValueError, match=r"tdds in epoch 0.*[53].*[35]"):
        selector.plan(1)


def test_an_epoch_that_begins_again_is_recorded_once():
    policy = sw.Recorder({"tdds": sw.recipes.tdds(T=4, window=3), "aum": sw.recipes.aum()})
    plain, _ = recorded(policy)
    torch.manual_seed(1)
    selector, model = make(policy, model=Net(dropout=0.0))
    loader, optimizer = selector.loader(), torch.optim.SGD(model.parameters(), lr=0.05)
    kept = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    for number, batch in enumerate(loader):
        step(selector, optimizer, batch)
        if number == 2:
            break
    model.load_state_dict(kept[0])
    optimizer.load_state_dict(kept[1])
    with pytest.warns(UserWarning, match="starts again"):
        train(selector, model, loader)
    for name in ("tdds", "aum"):
        assert torch.equal(selector.score(name), plain.score(name))


def test_logits_that_are_not_finite_are_named_when_they_are_measured():
    selector = sw.Selector("el2n", 12, epochs=3)
    selector.plan(0)
    logits = torch.zeros(12, 3)
    logits[4] = float("nan")
    selector.observe(torch.arange(12), sw.Outputs(torch.ones(12), logits, torch.zeros(12, dtype=torch.int64)))
    with pytest.raises(ValueError, match=r"el2n is not finite for ids \[4\] in epoch 0"):
        selector.plan(1)


def test_ids_outside_are_refused_at_once():
    selector = sw.Selector("el2n", 12, epochs=3)
    selector.plan(0)
    shown = Trace(12).outputs(torch.arange(2), 0)
    with pytest.raises(ValueError, match=r"ids \[12\] are outside"):
        selector.observe(torch.tensor([3, 12]), shown)


def shown_of(ids):
    """Logits that say whose they are."""
    return Outputs(torch.zeros(len(ids)), logits=ids[:, None].float() + torch.tensor([0.0, 0.5]))


def test_a_buffer_gives_back_what_it_was_given_once_an_id():
    first = torch.tensor([4, 2, 9, 4])  # 4 again: the padding of a sampler
    buffer = Buffer(("logits",), first, shown_of(first))
    for ids in (first, torch.tensor([1, 0]), torch.tensor([2, 7])):  # 2 again: another visit
        buffer.add(ids, shown_of(ids), None)
    parts = [(ids.tolist(), shown.logits[:, 0].tolist()) for ids, shown in buffer.chunks()]
    assert parts == [([4, 2, 9, 1, 0], [4.0, 2.0, 9.0, 1.0, 0.0]), ([2, 7], [2.0, 7.0])]
    assert not len(buffer)
    assert not list(buffer.chunks())


def test_a_buffer_leaves_out_rows_that_are_not_good():
    ids = torch.arange(4)
    buffer = Buffer(("logits",), ids, shown_of(ids))
    buffer.add(ids, shown_of(ids), torch.tensor([True, False, True, True]))
    buffer.add(ids + 4, shown_of(ids + 4), None)
    ((found, shown),) = buffer.chunks()
    assert found.tolist() == [0, 2, 3, 4, 5, 6, 7]
    assert shown.logits[:, 1].tolist() == [i + 0.5 for i in found.tolist()]


def test_nothing_is_measured_before_a_chunk_is_full():
    measured = []

    def el2n(logits, targets):
        measured.append(len(logits))
        return sw.signals.el2n(logits, targets)

    selector = sw.Selector(replace(sw.recipes.el2n(), signal=el2n), 3 * CHUNK, epochs=2)
    selector.plan(0)
    for ids in torch.arange(3 * CHUNK).split(256):
        selector.observe(
            ids, Outputs(torch.ones(256), torch.zeros(256, 2), torch.zeros(256, dtype=torch.int64))
        )
    assert measured
    assert min(measured) >= CHUNK
    selector.set_epoch(1)
    assert sum(measured) == 3 * CHUNK


def test_a_training_that_ends_early_gets_its_pass_all_the_same():
    trace = Trace(12, 3)
    selector = sw.Selector("entropy", 12, epochs=3)
    selector.observe(selector.plan(0).ids, trace.outputs(torch.arange(12), 0))
    selector.set_epoch(3)
    assert selector.pass_due(3)
    selector.observe(selector.pass_ids(3), trace.outputs(torch.arange(12), 3), source="pass")
    assert len(selector.subset(keep=0.5)) == 6


def test_a_pass_made_by_hand_after_the_last_epoch_is_charged():
    trace = Trace(12, 3)
    selector = sw.Selector("craig", 12, epochs=3)
    for epoch in range(3):
        for ids in selector.plan(epoch).ids.split(5):
            selector.observe(ids, trace.outputs(ids, epoch))
    selector.set_epoch(3)
    with pytest.raises(ValueError, match="needs a pass after epoch 2: 12 samples"):
        selector.subset()
    selector.observe(selector.pass_ids(3), trace.outputs(selector.pass_ids(3), 3), source="pass")
    assert selector.subset().provenance["scoring"]["cost"] == 12 * (3 * 3 + 1)
    assert selector.table().provenance["scoring"]["craig"]["cost"] == 12 * (3 * 3 + 1)


def test_losses_alone_are_refused_by_what_a_score_needs():
    selector = sw.Selector("el2n", 12, epochs=3)
    selector.plan(0)
    with pytest.raises(ValueError, match=r"needs logits: observe sw\.Outputs\(loss=\.\.\., logits="):
        selector.observe(torch.arange(12), torch.ones(12))


def test_the_schema_says_what_a_column_holds(tmp_path):
    selector = recorded("aum")[0]
    selector.table().to_parquet(tmp_path / "scores.parquet")
    said = sw.ScoreTable.read(tmp_path / "scores.parquet").provenance["columns"]["aum"]
    assert "minus the mean of (target - largest other) over all epochs" in said
    assert said.startswith("Higher: rather keep.")


def test_what_no_score_could_mend_is_refused_at_the_start():
    with pytest.raises(ValueError, match=r"beta=0\.5 drops the 50 hardest of 100 samples"):
        sw.Selector(sw.recipes.ccs(keep=0.9, beta=0.5), 100, epochs=5)
    rare = torch.tensor([0] * 97 + [1] * 3)
    with pytest.raises(ValueError, match=r"and none of class 1 \(3 samples\)"):
        sw.Selector(sw.recipes.el2n(keep=0.1, balance=True), 100, epochs=5, labels=rare)
    with pytest.raises(ValueError, match=r"beta=0\.5 drops"):
        sw.Selector(sw.Recorder([sw.recipes.ccs(keep=0.9, beta=0.5)]), 100, epochs=5)


@pytest.mark.parametrize("name", ["tdds", "dyn_unc", "el2n"])
def test_keeping_everything_asks_for_nothing(name):
    policy = sw.recipes.get(name)(keep=1)
    selector, model = make(policy, epochs=1, batch_size=7)
    train(selector, model, selector.loader(drop_last=True))
    assert selector.subset() == sw.Subset(torch.arange(N))
    assert selector.ledger.ignored_observations == N // 7 * 7


@pytest.mark.parametrize("bad", [7, -1])
def test_targets_without_a_logit_are_named(bad):
    selector = sw.Selector("el2n", 12, epochs=3)
    selector.plan(0)
    targets = torch.zeros(12, dtype=torch.int64)
    targets[[2, 5]] = bad
    with pytest.raises(ValueError, match=rf"targets must be in \[0, 3\).*\[{bad}, {bad}\] for ids \[2, 5\]"):
        selector.observe(torch.arange(12), sw.Outputs(torch.ones(12), torch.zeros(12, 3), targets))
    selector.observe(torch.arange(12), sw.Outputs(torch.ones(12), torch.zeros(12, 3), targets.clamp(0, 0)))
    selector.observe(torch.arange(12), sw.Outputs(torch.ones(12), torch.zeros(12, 3), targets))
    with pytest.raises(ValueError, match=rf"targets must be in \[0, 3\).*\[{bad}, {bad}\] for ids \[2, 5\]"):
        selector.plan(1)


def test_one_row_of_logits_does_not_stand_for_all():
    selector = sw.Selector("el2n", 12, epochs=3)
    selector.plan(0)
    for logits in (torch.zeros(1, 3), torch.zeros(12, 3)[:7]):
        with pytest.raises(ValueError, match="logits must have 12 rows"):
            selector.observe(torch.arange(12), sw.Outputs(torch.ones(12), logits, torch.zeros(12).long()))


def test_a_choice_that_can_never_be_made_is_no_policy():
    with pytest.raises(ValueError, match="final must be at least 1 with source='training', got 0"):
        sw.Policy(sw.signals.loss, sw.trackers.Last(), sw.pickers.TopK(0.3), source="training", final=0)
    with pytest.raises(ValueError, match="no `every` and no schedules"):
        sw.Policy(picker=sw.pickers.Uniform(sw.schedules.Linear(0.9, 0.3)), final=1)
    with pytest.raises(ValueError, match="no `every` and no schedules"):
        sw.Policy(picker=sw.pickers.Uniform(0.3), every=2, final=1)


def test_what_was_never_observed_says_so():
    selector = sw.Selector("el2n", 12, epochs=2)
    selector.set_epoch(2)
    with pytest.raises(ValueError, match=r"el2n has no scores: nothing was observed"):
        selector.subset(keep=0.3)


def test_options_of_the_wrong_kind_are_refused():
    """In a process of its own: the type checker of the tests would refuse them first."""
    code = """
import torch
import samplewise as sw
selector = sw.Selector("random", 8, epochs=2)
for asked in ({"balance": "no"}, {"normalize": True}, {"weights": True}):
    try:
        selector.subset(**asked)
    except ValueError as error:
        print(error)
try:
    sw.recipes.fixed(torch.arange(5))
except ValueError as error:
    print(error)
"""
    assert plainly(code).splitlines() == [
        "subset.balance must be True or False, got 'no'.",
        "subset.normalize must be one of 'mean1', got True.",
        "subset.weights must be one of 'none', 'per_sample', 'batch_mean', 'raw', got True.",
        "fixed.subset must be a Subset or a path to one, got a Tensor.",
    ]


def test_a_method_that_needs_an_object_says_which():
    with pytest.raises(ValueError, match="fixed: missing a required argument: 'subset'"):
        sw.Selector("fixed", 8, epochs=2)
    with pytest.raises(FileNotFoundError, match=r"no such file: .*nowhere\.parquet"):
        sw.recipes.fixed("nowhere.parquet")


def test_seconds_leave_out_what_making_the_other_scores_final_took():
    trace = Trace(12, 3)
    selector = sw.Selector(sw.Recorder(["entropy", "herding"]), 12, epochs=1)
    selector.observe(selector.plan(0).ids, trace.outputs(torch.arange(12), 0))
    selector.set_epoch(1)
    selector.observe(torch.arange(12), trace.outputs(torch.arange(12), 1), source="pass")
    selector.engine.finish()
    for name, seconds in {"entropy": 1.0, "herding": 6.0}.items():
        selector.engine.records[name].seconds = seconds
    selector.ledger.seconds.update(dict.fromkeys(selector.ledger.seconds, 0.0), scoring=10.0)
    scoring = selector.table().provenance["scoring"]
    assert {name: spent["seconds"] for name, spent in scoring.items()} == {"entropy": 4.0, "herding": 9.0}


def test_of_a_sample_that_comes_twice_in_a_batch_of_a_pass_the_first_row_counts():
    logits = torch.tensor([[3.0, 0.0], [0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    scores = []
    for rows in ([0, 2, 3], [0, 1, 2, 3]):  # the second batch has sample 0 twice
        ids = torch.tensor([0, 1, 2] if len(rows) == 3 else [0, 0, 1, 2])
        selector = sw.Selector("entropy", 3, epochs=1)
        selector.plan(0)
        selector.timeline.end_epoch()
        outputs = sw.Outputs(torch.rand(len(ids)), logits[rows], torch.zeros(len(ids), dtype=torch.int64))
        selector.observe(ids, outputs, "pass")
        scores.append(selector.score().tolist())
    assert scores[0] == scores[1]
