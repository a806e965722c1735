"""`tdds` (METHODS A10, A15, G.1): both depths and the average of windows, against plain loops."""

import math

import pytest
import torch
from torch.utils.data import TensorDataset
from trajectories import (
    CLASSES,
    EPOCHS,
    LABELS,
    LOGITS,
    TARGETS,
    N,
    check_kept,
    hardest,
    outputs,
    probability,
    scored,
)

import samplewise as sw
from samplewise.recipes.tdds import published

EPS = 1e-8


def moves(i, epochs, depth1, absolute):
    """What happened to sample i between epochs t and t + 1, or how far off it was in epoch t (EL2N)."""
    found = []
    if depth1 == "el2n":
        for t in range(epochs):
            hit = [1.0 if c == TARGETS[i] else 0.0 for c in range(CLASSES)]
            found.append(math.dist(probability(t, i), hit))
        return found
    for t in range(epochs - 1):
        before, after = probability(t, i), probability(t + 1, i)
        if depth1 == "ce":
            move = math.log(after[TARGETS[i]]) - math.log(before[TARGETS[i]])
        else:
            terms = [q * (math.log(q + EPS) - math.log(p + EPS)) for p, q in zip(before, after, strict=True)]
            move = sum(abs(term) for term in terms) if absolute == "inside" else sum(terms)
        found.append(move if absolute == "none" else abs(move))
    return found


def reference(epochs, window, beta=0.9, depth1="kl", absolute="inside", sqrt=True, average="ema"):
    """The score of every sample from the first `epochs` (T) in windows of `window` (K)."""
    scores = []
    for i in range(N):
        series = moves(i, epochs, depth1, absolute)
        score, windows = 0.0, []
        for k in range(epochs - window + 1):
            inside = series[k : k + (window if depth1 == "el2n" else window - 1)]
            mean = sum(inside) / len(inside)
            spread = sum((x - mean) ** 2 for x in inside)
            windows.append(math.sqrt(spread) if sqrt else spread)
            score = beta * windows[-1] + (1 - beta) * score
        scores.append(score if average == "ema" else sum(windows) / len(windows))
    return scores


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"absolute": "outside"},
        {"sqrt": False},
        {"absolute": "outside", "sqrt": False},
        {"depth1": "ce"},
        {"depth1": "ce", "absolute": "none"},
        {"depth1": "el2n"},
        {"average": "mean"},
        {"beta": 0.85},
    ],
    ids=str,
)
def test_the_scores_and_the_subsets_are_the_equations(options):
    for epochs, window in ((9, 4), (6, 3), (5, 5)):
        selector, _ = scored(sw.recipes.tdds(T=epochs, window=window, **options))
        check_kept(selector, "tdds", reference(epochs, window, **options))


def equations(T, K, beta=0.9):
    """Eqs. 10 to 12 with T changes: K of them in every window, no root, the absolute value of the sum."""
    scores = []
    for i in range(N):
        deltas = []
        for t in range(T):
            p, q = probability(t, i), probability(t + 1, i)
            deltas.append(abs(sum(b * math.log(b / a) for a, b in zip(p, q, strict=True))))
        score = 0.0
        for k in range(T - K + 1):
            window = deltas[k : k + K]
            mean = sum(window) / K
            score = beta * sum((delta - mean) ** 2 for delta in window) + (1 - beta) * score
        scores.append(score)
    return scores


def test_the_equations_of_the_paper_need_one_epoch_more():
    T, K = 7, 3
    policy = sw.recipes.tdds(T=T + 1, window=K + 1, absolute="outside", sqrt=False)
    check_kept(scored(policy)[0], "tdds", equations(T, K))


def test_raw_weights_are_the_scores_themselves():
    scores = reference(6, 4)
    for weighting, said in (("per_sample", "raw"), ("raw", None)):
        subset = scored(sw.recipes.tdds(0.5, 6, 4, weighting=weighting))[0].subset(weights=said)
        assert subset.weights.tolist() == pytest.approx([scores[i] for i in hardest(scores, 0.5)], rel=1e-3)
        assert subset.weighting == "per_sample"
    table = scored(sw.recipes.aum(keep=0.5))[0].table()
    with pytest.raises(
        ValueError, match=r"weights='raw' needs scores of at least 0, but the lowest of aum is -"
    ):
        table.subset("aum", weights="raw")


def test_the_first_parameters_are_keep_t_window_and_beta():
    selector, _ = scored(sw.recipes.tdds(0.5, 7, 4, 0.6))
    check_kept(selector, "tdds", reference(7, 4, beta=0.6))
    assert selector.subset().ids.tolist() == hardest(reference(7, 4, beta=0.6), 0.5)


def test_half_precision_is_near():
    selector, _ = scored(sw.recipes.tdds(T=9, window=4, half=True))
    assert selector.score().tolist() == pytest.approx(reference(9, 4), abs=5e-3)
    assert selector.score().tolist() != pytest.approx(reference(9, 4), abs=1e-7)


def test_only_the_first_t_epochs_matter_and_the_coreset_trains_from_then_on():
    later = LOGITS[:6] + [[[-z for z in row] for row in epoch] for epoch in LOGITS[6:]]
    one, plans = scored(sw.recipes.tdds(0.5, 6, 4))
    other, _ = scored(sw.recipes.tdds(0.5, 6, 4), later)
    assert torch.equal(one.score(), other.score())
    assert plans == [list(range(N))] * 6 + [hardest(reference(6, 4), 0.5)] * (EPOCHS - 6)


def test_without_numbers_the_published_ones_are_scaled():
    # keep 0.5: (90, 10) of 200 epochs, so T = floor(90 * 9 / 200 + 0.5) = 4 and K = T - 1.
    selector, plans = scored(sw.recipes.tdds())
    check_kept(selector, "tdds", reference(4, 3))
    assert [len(plan) for plan in plans] == [8] * 4 + [4] * 5


def test_the_published_table():
    for data, table in {
        "cifar10": {0.7: (70, 10), 0.5: (90, 10), 0.3: (80, 10), 0.2: (30, 10), 0.1: (10, 5)},
        "cifar100": {0.7: (90, 10), 0.5: (70, 10), 0.3: (60, 20), 0.2: (20, 10), 0.1: (10, 5)},
        "imagenet": {0.7: (20, 10), 0.5: (20, 10), 0.3: (30, 20), 0.2: (30, 20), 0.1: (30, 20)},
        "imagenet_swin": {0.75: (200, 10), 0.7: (180, 10), 0.6: (150, 10), 0.5: (100, 10)},
    }.items():
        for keep, expected in table.items():
            assert published(keep, data) == expected
    # Between two published rates the one that prunes less.
    assert [published(keep) for keep in (0.6, 0.4, 0.25, 0.15)] == [(70, 10), (90, 10), (80, 10), (30, 10)]
    assert published(1.0) == (70, 10)


def test_tables_of_other_data_are_scaled_from_their_own_length():
    for data, epochs, last, window in (
        ("cifar100", 200, 60, 20),
        ("imagenet", 90, 30, 20),
        ("imagenet_swin", 300, 100, 10),
    ):
        tracker = sw.recipes.tdds(keep=0.3, data=data).tracker.within(epochs)
        assert (tracker.T, tracker.window) == (last, window)


def test_the_number_of_classes_decides_whose_numbers_are_taken():
    def recorded_epochs(classes, data, **options):
        labels = torch.arange(1200) % classes
        selector = sw.Selector(sw.recipes.tdds(0.3, data=data, **options), 1200, epochs=90, labels=labels)
        return selector.final["tdds"]

    for classes, data in ((10, "cifar10"), (100, "cifar100"), (1000, "imagenet")):
        assert recorded_epochs(classes, "auto") == recorded_epochs(classes, data)
        assert recorded_epochs(classes, "cifar10") == recorded_epochs(10, "cifar10")
    assert recorded_epochs(10, "auto") != recorded_epochs(1000, "auto")
    assert recorded_epochs(7, "auto", T=20, window=5) == 20
    with pytest.raises(ValueError, match=r"numbers for data of 10, 100, 1000 classes, got 7 classes"):
        recorded_epochs(7, "auto")
    with pytest.raises(ValueError, match=r"got data without known labels. Give T and window, or say whose"):
        sw.Selector(sw.recipes.tdds(data="auto"), 20, epochs=30)
    both = sw.Recorder({"a": sw.recipes.tdds(0.3, data="auto"), "b": sw.recipes.tdds(0.3)})
    selector = sw.Selector(both, 300, epochs=90, labels=torch.arange(300) % 100)
    assert selector.final["a"] == 27
    assert selector.final["b"] == 36


def test_the_coreset_is_weighted_by_scores_scaled_over_the_whole_data_set():
    scores = reference(6, 4)
    span = max(scores) - min(scores)
    for weighting, said in (("per_sample", None), ("per_sample", "batch_mean"), ("batch_mean", None)):
        selector, _ = scored(sw.recipes.tdds(0.5, 6, 4, weighting=weighting))
        subset = selector.subset(weights=said)
        expected = [(scores[i] - min(scores)) / span for i in hardest(scores, 0.5)]
        assert subset.weights.tolist() == pytest.approx(expected, rel=1e-3)
        assert subset.weighting == (said or weighting)
    for policy, said in ((sw.recipes.tdds(0.5, 6, 4, weighting="none"), None), ("tdds", "none")):
        assert scored(policy)[0].subset(keep=0.5, weights=said).weights is None


def test_missing_and_repeated_samples_are_refused_with_ids_and_epoch():
    def started():
        selector = sw.Selector(sw.recipes.tdds(0.5, 4, 3), N, epochs=EPOCHS, labels=LABELS)
        selector.plan(0)
        selector.observe(torch.arange(N), outputs(LOGITS[0], torch.arange(N)))
        selector.plan(1)
        return selector

    selector = started()
    selector.observe(torch.arange(6), outputs(LOGITS[1], torch.arange(6)))
    with pytest.raises(ValueError, match=r"ids \[6, 7\] were not seen in epoch 1"):
        selector.plan(2)
    selector = started()
    selector.observe(torch.arange(N), outputs(LOGITS[1], torch.arange(N)))
    selector.observe(torch.tensor([5, 2]), outputs(LOGITS[1], torch.tensor([5, 2])))
    with pytest.raises(ValueError, match=r"ids \[2, 5\] came again in epoch 1|ids \[5, 2\] came again"):
        selector.plan(2)


def recorded_by_a_loop(breaks=()):
    """The score after an ordinary loop over a loader, left after the first batch in the epochs `breaks`."""
    seen = [0]

    def forward(batch):
        return outputs(LOGITS[seen[0]], batch[0])

    data = TensorDataset(torch.arange(N))
    selector = sw.Selector(sw.recipes.tdds(0.5, 5, 3), data, forward, epochs=EPOCHS, batch_size=3)
    loader = selector.loader()
    for seen[0] in range(EPOCHS):
        if seen[0] in breaks:
            selector.loss(next(iter(loader)))
        for batch in loader:
            selector.loss(batch)
    return selector.score()


def test_a_loop_that_was_left_records_its_epoch_once():
    straight = recorded_by_a_loop()
    assert straight.tolist() == pytest.approx(reference(5, 3), rel=1e-3)
    with pytest.warns(UserWarning, match="set_epoch"):
        again = recorded_by_a_loop(breaks=(0, 2))
    assert torch.equal(again, straight)


def test_a_loader_that_leaves_samples_out_is_refused_when_built():
    selector = sw.Selector("tdds", TensorDataset(torch.arange(N)), outputs, epochs=EPOCHS, batch_size=3)
    with pytest.raises(
        ValueError, match=r"drop_last must be False, got True: tdds must see every sample in every epoch"
    ):
        selector.loader(drop_last=True)


def test_padding_inside_a_batch_is_no_repetition():
    selector = sw.Selector(sw.recipes.tdds(0.5, 3, 3), N, epochs=3, labels=LABELS)
    for epoch in range(3):
        selector.plan(epoch)
        ids = torch.tensor([*range(N), 0, 1])
        selector.observe(ids, outputs(LOGITS[epoch], ids))
    selector.set_epoch(3)
    assert selector.score().tolist() == pytest.approx(reference(3, 3), rel=1e-3)


def test_numbers_that_make_no_sense_are_refused_when_built():
    with pytest.raises(ValueError, match=r"tdds.window must be >= 3, got 2"):
        sw.recipes.tdds(window=2)
    with pytest.raises(ValueError, match=r"DualDepth.T must be at least the window of 6, got 5"):
        sw.recipes.tdds(0.5, 5, 6)
    with pytest.raises(ValueError, match=r"DualDepth.T must fit into a training of 9 epochs, got 10"):
        sw.Selector(sw.recipes.tdds(0.5, 10, 5), N, epochs=EPOCHS)
    with pytest.raises(ValueError, match=r"DualDepth.T must fit into a training of 3 epochs, got 4"):
        sw.Selector("tdds", N, epochs=3)
    with pytest.raises(ValueError, match=r"DualDepth.absolute='none' needs depth1='ce': a KL divergence is"):
        sw.recipes.tdds(absolute="none")
