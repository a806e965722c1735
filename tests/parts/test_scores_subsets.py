"""Subsets out of score tables: by the recorded method, through Parquet, and combined over runs."""

import pandas as pd
import pytest
import torch

import samplewise as sw
from samplewise import Recorder, Selector, recipes
from samplewise.coresets.table import ScoreTable, Subset
from samplewise.testing import Trace

nan, inf = float("nan"), float("inf")
SCORES = [0.4, 0.1, 0.9, 0.2, 0.8, 0.3]
LABELS = [0, 0, 0, 1, 1, 1]


def table(scores=None, methods=None, seed=3, **changes):
    columns = {"el2n": torch.tensor(SCORES if scores is None else scores)}
    methods = {"el2n": recipes.el2n(keep=0.5)} if methods is None else methods
    provenance = {
        "recipe": "recorder",
        "methods": {name: repr(policy) for name, policy in methods.items()},
        "scoring": {name: {"cost": 30.0, "seconds": 1.5} for name in methods},
        "fingerprint": "f",
        "seed": seed,
        "n": 6,
    }
    held = {"columns": columns, "labels": torch.tensor(LABELS)} | changes
    times = torch.ones(6, dtype=torch.int32)
    return ScoreTable(torch.arange(6), times_selected=times, provenance=provenance, **held)


def test_a_table_makes_the_coreset_of_a_recorded_method():
    subset = table().subset("el2n")
    assert subset.ids.tolist() == [0, 2, 4]
    assert table().subset("el2n", keep=1 / 6).ids.tolist() == [2]
    assert table().subset("el2n", keep=2 / 6, balance=True).ids.tolist() == [2, 4]
    said = subset.provenance
    assert said["recipe"], said["policy"] == ("el2n", repr(recipes.el2n(keep=0.5)))
    assert said["scoring"] == {"cost": 30.0, "seconds": 1.5}
    assert said["fingerprint"] == "f"


@pytest.mark.parametrize("weights", ["none", "per_sample", "batch_mean"])
def test_a_subset_is_the_same_from_the_file_of_the_table(tmp_path, weights):
    table().to_parquet(tmp_path / "t.parquet")
    direct = table().subset("el2n", weights=weights)
    read = ScoreTable.read(tmp_path / "t.parquet").subset("el2n", weights=weights)
    assert torch.equal(read.ids, direct.ids)
    assert (read.weights is None) == (direct.weights is None) == (weights == "none")
    assert weights == "none" or torch.equal(read.weights, direct.weights)
    assert read.weighting == direct.weighting
    assert read.provenance == direct.provenance


def test_prefixed_columns_belong_to_the_method():
    # Moderate picks the middle of its distances, which lie beside the column it is named after.
    methods = {"moderate": recipes.moderate(keep=1 / 3)}
    distances = torch.tensor([0.0, 5.0, 1.0, 4.0, 2.0, 3.0])
    columns = {"moderate": torch.zeros(6), "moderate_distance": distances}
    assert table(methods=methods, columns=columns).subset("moderate").ids.tolist() == [4, 5]


def test_a_random_subset_is_drawn_with_the_recording_s_seed():
    methods = {"random": recipes.random(keep=0.5)}
    drawn = [table(methods=methods, seed=seed, columns={}).subset("random").ids.tolist() for seed in range(9)]
    assert len({tuple(ids) for ids in drawn}) > 3
    again = table(methods=methods, seed=0, columns={}).subset("random", seed=5)
    assert again.ids.tolist() == drawn[5]


def test_unknown_methods_and_methods_of_other_levels_are_refused():
    with pytest.raises(ValueError, match=r"this table has no method 'el2m'\. Did you mean 'el2n'\?"):
        table().subset("el2m")
    with pytest.raises(ValueError, match="ucb is a method of level epoch: only static ones make a subset"):
        table(methods={"ucb": recipes.ucb()}, columns={"ucb": torch.zeros(6)}).subset("ucb")


def test_a_column_without_a_record_is_read_as_the_recipe_of_its_name():
    assert table(methods={}).subset("el2n", keep=1 / 6).ids.tolist() == [2]


def test_combined_runs_keep_the_methods_and_add_up_what_they_cost():
    other = table([0.0, 2.9, 0.1, 0.2, 0.8, 0.3], seed=4)
    both = ScoreTable.combine([table(), other])
    assert both.subset("el2n", keep=2 / 6).ids.tolist() == [1, 4]
    assert both.subset("el2n").provenance["scoring"] == {"cost": 60.0, "seconds": 3.0}
    recorded_otherwise = table(methods={"el2n": recipes.el2n(first=2)})
    with pytest.raises(ValueError, match="combine needs tables of the same methods, got"):
        ScoreTable.combine([table(), recorded_otherwise])


def test_combining_keeps_infinite_and_unobserved_scores_what_they_are():
    forgetting = {"forgetting": recipes.forgetting()}
    first, second = [inf, 1.0, 0.0, nan, 2.0, inf], [inf, inf, 1.0, 1.0, 3.0, 0.0]
    tables = [table(methods=forgetting, columns={"forgetting": torch.tensor(s)}) for s in (first, second)]
    for how, last in (("mean", 2.5), ("sum", 5.0)):
        values = ScoreTable.combine(tables, how)["forgetting"]
        assert values.isinf().tolist() == [True, True, False, False, False, True]
        assert values.isnan().tolist() == [False, False, False, True, False, False]
        assert values[4] == last


def test_a_subset_with_its_table_has_a_row_for_every_sample(tmp_path):
    made = table()
    subset = made.subset("el2n", weights="batch_mean")
    subset.to_parquet(tmp_path / "s.parquet", made)
    frame = pd.read_parquet(tmp_path / "s.parquet")
    assert list(frame) == ["id", "label", "el2n", "selected", "weight"]
    assert frame["selected"].tolist() == [True, False, True, False, True, False]
    assert frame["label"].tolist() == LABELS
    assert frame["weight"].tolist() == pytest.approx([0.375, 0, 1.0, 0, 0.875, 0])
    read = Subset.read(tmp_path / "s.parquet")
    assert torch.equal(read.ids, subset.ids)
    assert torch.equal(read.weights, subset.weights)
    assert read.weighting == "batch_mean"
    assert read.provenance == subset.provenance


def test_a_subset_of_another_table_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="must have every id of the subset, but 1 of 2 ids are missing"):
        Subset(torch.tensor([2, 6])).to_parquet(tmp_path / "s.parquet", table())


def test_a_file_without_selected_is_still_read(tmp_path):
    pd.DataFrame({"id": [1, 4], "weight": [1.0, 0.5]}).to_parquet(tmp_path / "old.parquet")
    read = Subset.read(tmp_path / "old.parquet")
    assert read.ids.tolist() == [1, 4]
    assert read.weights.tolist() == [1.0, 0.5]
    assert read.weighting == "per_sample"


def test_an_unknown_weighting_is_refused(tmp_path):
    frame = pd.DataFrame({"id": [1], "weight": [1.0]})
    frame.to_parquet(tmp_path / "s.parquet")
    with pytest.raises((ValueError, TypeError), match="weighting"):
        Subset(torch.tensor([1]), weighting="batch")


def engine(policy):
    """A training of two epochs by engine calls: every sample seen with made-up logits."""
    selector = sw.Selector(policy, 6, epochs=2, labels=LABELS, seed=3)
    rng = torch.Generator().manual_seed(0)
    for epoch in range(2):
        selector.plan(epoch)
        logits, targets = torch.randn(6, 2, generator=rng), torch.tensor(LABELS)
        losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        selector.observe(torch.arange(6), sw.Outputs(losses, logits, targets))
    selector.set_epoch(2)
    return selector


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("el2n", {"keep": 0.3}),
        ("el2n", {"keep": 0.7, "balance": True, "weights": "per_sample", "normalize": "mean1"}),
        ("forgetting", {"keep": 0.5}),
        ("ccs", {"keep": 0.5}),
        ("random", {"keep": 0.5}),
        ("svp", {"keep": 0.5, "balance": True}),
    ],
)
def test_the_table_in_a_file_chooses_what_the_selector_chooses(tmp_path, name, wanted):
    selector = engine(sw.Recorder(["el2n", "forgetting", "ccs", "random", "svp"]))
    direct = selector.subset(name, **wanted)
    selector.table().to_parquet(tmp_path / "t.parquet")
    read = ScoreTable.read(tmp_path / "t.parquet").subset(name, **wanted)
    assert torch.equal(read.ids, direct.ids)
    assert (read.weights is None) == (direct.weights is None)
    assert read.weights is None or torch.equal(read.weights, direct.weights)


def test_rows_in_another_order_choose_the_same_samples():
    scores = torch.arange(120.0)
    times = torch.zeros(120, dtype=torch.int64)
    plain = ScoreTable(torch.arange(120), {"el2n": scores}, times)
    turned = ScoreTable(torch.arange(120).flip(0), {"el2n": scores.flip(0)}, times)
    assert turned.subset("el2n", keep=0.05) == plain.subset("el2n", keep=0.05)
    assert plain.subset("el2n", keep=0.05).ids.tolist() == list(range(114, 120))
    part = ScoreTable(torch.arange(2, 9), {"el2n": scores[:7]}, times[:7])
    with pytest.raises(ValueError, match="every id from 0 to 6 and no other, got 7 rows"):
        part.subset("el2n", keep=0.5)


def two_tables(policy, epochs=3, until=3):
    """Two recordings of 12 samples, up to some epoch."""
    trace, tables = Trace(12, 4), []
    for seed in (0, 1):
        selector = Selector(Recorder([policy]), 12, epochs=epochs, seed=seed)
        for epoch in range(until):
            ids = selector.plan(epoch).ids
            selector.observe(ids, trace.outputs(ids, epoch + seed))
        selector.set_epoch(until)
        if selector.pass_due(until):
            selector.observe(torch.arange(12), trace.outputs(torch.arange(12), 3 - seed), "pass")
        tables.append(selector.table())
    return tables


def test_a_score_that_is_not_final_makes_no_coreset_from_a_table_either():
    unfinished, _ = two_tables("aum", until=2)
    with pytest.raises(ValueError, match="aum was not final when this table was made"):
        unfinished.subset("aum", keep=0.5)
    with pytest.raises(ValueError, match="was not final"):
        ScoreTable.combine([unfinished, unfinished]).subset("aum", keep=0.5)


def test_runs_of_other_lengths_and_orders_do_not_combine():
    with pytest.raises(ValueError, match="tables of the same epochs, got 3 and 4"):
        ScoreTable.combine([two_tables("aum")[0], two_tables("aum", epochs=4, until=4)[0]])
    with pytest.raises(ValueError, match="herding gives an order of picks"):
        ScoreTable.combine(two_tables("herding"))


def test_moderate_is_ranked_anew_by_the_mean_distance():
    tables = two_tables("moderate")
    both = ScoreTable.combine(tables)
    distance = (tables[0]["moderate_distance"].double() + tables[1]["moderate_distance"].double()) / 2
    assert torch.equal(both["moderate_distance"], distance)
    ranks = distance.argsort(stable=True)
    kept = both.subset("moderate", keep=0.5).ids
    assert kept.tolist() == sorted(ranks[3:9].tolist())
    assert both["moderate"].argsort(descending=True)[:6].sort().values.equal(kept)
