"""Suspected label errors: the ranking, precision and recall, cleanlab beside it."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, precision_recall_curve

import samplewise as sw
from samplewise.analysis.label_errors import (
    Suspects,
    cleanlab_label_errors,
    detection,
    suspected_label_errors,
)
from samplewise.bench import protocols
from samplewise.bench.altered import wrong_labels
from samplewise.bench.settings import Settings
from samplewise.coresets.table import ScoreTable
from samplewise.policy import Policy


def drawn(n=300, ties=False, seed=0):
    """Scores that are higher for wrong labels, and the mask."""
    rng = torch.Generator().manual_seed(seed)
    wrong = torch.rand(n, generator=rng) < 0.2
    scores = torch.randn(n, generator=rng, dtype=torch.float64) + 1.5 * wrong
    return (scores.round() if ties else scores), wrong


@pytest.mark.parametrize("ties", [False, True])
def test_precision_and_recall_are_those_of_scikit_learn(ties):
    scores, wrong = drawn(ties=ties)
    found = detection(Suspects.ranked("x", torch.arange(300), scores), wrong)
    precision, recall, _ = precision_recall_curve(wrong.numpy(), scores.numpy())
    # Theirs begins with the lowest threshold, and ends with an extra point of recall 0.
    np.testing.assert_allclose(found.precision.flip(0), precision[:-1])
    np.testing.assert_allclose(found.recall.flip(0), recall[:-1])
    assert found.average_precision == pytest.approx(average_precision_score(wrong, scores))


def test_the_first_k_are_counted_by_hand_and_ties_give_the_expected_number():
    # From the top: 5 (right), then 3, 3, 3 (two of three wrong), then 1 (wrong), then NaN (right).
    scores = torch.tensor([3.0, 5.0, 1.0, 3.0, math.nan, 3.0])
    wrong = [True, False, True, True, False, False]
    ranked = Suspects.ranked("x", torch.arange(6), scores)
    assert ranked.ids.tolist() == [1, 0, 3, 5, 2, 4]
    found = detection(ranked, wrong)
    assert (found.taken.tolist(), found.found.tolist()) == ([1, 4, 5, 6], [0, 2, 3, 3])
    assert [found.found_in(k) for k in (1, 2, 4, 5, 6)] == pytest.approx([0, 2 / 3, 2, 3, 3])
    assert (found.precision_at(4), found.recall_at(5), found.chance) == (0.5, 1.0, 0.5)
    with pytest.raises(ValueError, match=r"k must be in \[1, 6\], got 7"):
        found.found_in(7)


def test_infinite_scores_are_the_most_suspected():
    """A sample that was never right has an infinite forgetting score."""
    table = ScoreTable([0, 1, 2], {"forgetting": [2.0, math.inf, math.nan]}, [1, 1, 1])
    assert suspected_label_errors(table, "forgetting").ids.tolist() == [1, 0, 2]


def recorded(methods):
    """A table of a Recorder that observed sample i with the logit i for its target, and 0 beside it."""
    selector = sw.Selector(sw.Recorder(methods), 4, epochs=2, labels=[0, 0, 0, 0])
    for epoch in range(2):
        selector.plan(epoch)
        logits = torch.stack([torch.arange(4.0), torch.zeros(4)], 1)
        loss = torch.nn.functional.cross_entropy(logits, torch.zeros(4, dtype=torch.long), reduction="none")
        outputs = sw.Outputs(loss, logits, torch.zeros(4, dtype=torch.long))
        selector.observe(torch.arange(4), outputs)
    selector.set_epoch(2)
    return selector.table()


def static(signal, tracker=None):
    tracker = sw.trackers.Mean() if tracker is None else tracker
    return Policy(signal=signal, tracker=tracker, picker=sw.pickers.TopK(0.5), source="training", final="end")


def test_the_direction_is_known_from_what_was_recorded():
    """Sample 0 has the smallest margin, the lowest confidence and the highest loss: it is suspected first."""
    table = recorded(
        {
            "aum": "aum",
            "largest": sw.recipes.aum(highest=True),
            "el2n": "el2n",
            "mean_loss": static(sw.signals.loss),
            "mean_margin": static(sw.signals.logit_margin),
            "mean_confidence": static(sw.signals.target_probability),
        }
    )
    for by in table.columns:
        assert suspected_label_errors(table, by).ids.tolist() == [0, 1, 2, 3], by
    assert suspected_label_errors(table, "el2n", lowest=True).ids.tolist() == [3, 2, 1, 0]


def test_a_wrong_column_or_mask_is_refused():
    table = ScoreTable([0, 1, 2], {"el2n": [0.1, 0.2, 0.3], "none": [math.nan] * 3}, [1, 1, 1])
    with pytest.raises(ValueError, match=r"no score column 'eln'. Did you mean 'el2n'\?"):
        suspected_label_errors(table, "eln")
    with pytest.raises(ValueError, match="no sample was ever observed"):
        suspected_label_errors(table, "none")
    ranked = suspected_label_errors(table, "el2n")
    for wrong in ([True, False], [True, False, False, False]):
        with pytest.raises(ValueError, match=f"each of the 3 samples, got {len(wrong)}"):
            detection(ranked, wrong)
    with pytest.raises(ValueError, match="0 of 3 are wrong"):
        detection(ranked, [False] * 3)
    with pytest.raises(ValueError, match="truth values, or 0 and 1, got 2"):
        detection(ranked, [0, 1, 2])


def test_a_table_of_some_ids_takes_the_mask_of_all_samples():
    table = ScoreTable([5, 1], {"el2n": [0.1, 0.2]}, [1, 1])
    found = detection(suspected_label_errors(table, "el2n"), torch.arange(9) == 1)
    assert (found.n, found.wrong, found.average_precision) == (2, 1, 1.0)


def test_cleanlab_ranks_by_the_probability_or_the_margin_of_the_label():
    pytest.importorskip("cleanlab")
    probabilities = torch.tensor([[0.5, 0.5, 0.0], [0.6, 0.2, 0.2], [0.1, 0.8, 0.1], [0.4, 0.3, 0.3]])
    labels = [0, 0, 0, 0]
    assert cleanlab_label_errors(probabilities, labels).ids.tolist() == [2, 3, 0, 1]
    assert cleanlab_label_errors(probabilities, labels, "normalized_margin").ids.tolist() == [2, 0, 3, 1]
    for given, y, said in (
        (probabilities[0], labels, r"got shape \(3,\)"),
        (probabilities, [0, 0, 0], "a row for each of the 3 labels, got 4 rows"),
        (probabilities, [0, 0, 3, 0], r"labels must be in \[0, 3\)"),
        (probabilities.log(), labels, r"not those of ids \[0, 1, 2, 3\]"),
        (probabilities * math.nan, labels, "not those of ids"),
    ):
        with pytest.raises(ValueError, match=said):
            cleanlab_label_errors(given, y)


def test_the_mask_of_the_command_is_that_of_the_labels_it_makes_wrong():
    labels = torch.arange(50) % 5
    for kind in ("uniform", "flip"):
        settings = Settings(label_noise=0.3, noise=kind)
        noise = sw.rng.generator(7, "label noise")
        made = protocols.NOISES[settings.noise](labels, settings.label_noise, 5, noise)
        assert torch.equal(wrong_labels(50, 0.3, 7), made.labels != labels)
