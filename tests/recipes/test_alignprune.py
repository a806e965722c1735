"""`alignprune` against plain loops: Pearson's r over the epochs in which a sample was seen."""

import math

import pytest
import torch
from plain import EPOCHS, LOSSES, N

import samplewise as sw

IDS = torch.arange(N)


def pearson(x, y):
    """0 if it is not defined."""
    if len(x) < 3:
        return 0.0
    mx, my = sum(x) / len(x), sum(y) / len(y)
    up = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True))
    down = math.sqrt(sum((a - mx) ** 2 for a in x) * sum((b - my) ** 2 for b in y))
    return up / down if down else 0.0


def score(seen, epoch, window, reference):
    """The scores before `epoch`; seen[e] maps the samples that trained in epoch e to their losses."""
    past = range(epoch - window, epoch)
    if epoch < window:
        return [
            next((seen[e][i] for e in reversed(range(epoch)) if i in seen[e]), math.nan) for i in range(N)
        ]
    means = {}
    for e in past:
        known = [seen[e][i] for i in reference if i in seen[e]]
        if known:
            means[e] = sum(known) / len(known)
    found = []
    for i in range(N):
        both = [e for e in past if e in means and i in seen[e]]
        score = pearson([seen[e][i] for e in both], [means[e] for e in both])
        found.append(score if any(i in seen[e] for e in past) else math.nan)
    return found


@pytest.mark.parametrize("window", [3, 4, 6])
@pytest.mark.parametrize("clean", [None, [0], [1, 2, 5]])
def test_a_trace_by_hand(window, clean):
    given = None if clean is None else sw.Subset(torch.tensor(clean), provenance={"n": N})
    recipe = sw.recipes.alignprune(keep=0.4, window=window, until=0.875, reference=given)
    selector = sw.Selector(recipe, N, epochs=EPOCHS)
    seen, dropped = [], 0
    for epoch in range(EPOCHS):
        plan = selector.plan(epoch)
        scores = score(seen, epoch, window, clean or range(N))
        if epoch:
            assert selector.score().tolist() == pytest.approx(scores, abs=1e-6, nan_ok=True)
        known = [s for s in scores if not math.isnan(s)]
        mean = sum(known) / len(known) if known else 0
        low = {i for i in range(N) if scores[i] < mean - 1e-6}
        active = epoch < 0.875 * EPOCHS
        kept = set(plan.ids.tolist())
        assert set(range(N)) - low <= kept
        wanted = max(min(1, len(low)), int(0.4 * len(low) + 1e-9)) if active else len(low)
        assert len(kept & low) == wanted
        weights = [1.0] * len(kept) if plan.weights is None else plan.weights.tolist()
        for i, weight in zip(plan.ids.tolist(), weights, strict=True):
            assert weight == pytest.approx(len(low) / wanted if active and i in low else 1.0)
        selector.observe(plan.ids, torch.tensor(LOSSES[epoch])[plan.ids])
        seen.append({i: LOSSES[epoch][i] for i in kept})
        dropped += N - len(kept)
    assert dropped > 0
    assert selector.ledger.scoring_forwards == 0


def test_a_loss_that_rises_while_the_reference_falls_is_dropped_first():
    falling = [[2.0 - 0.4 * e + 0.1 * i for i in range(N)] for e in range(4)]
    selector = sw.Selector(sw.recipes.alignprune(keep=0.1, window=3), N, epochs=30)
    for epoch, losses in enumerate(falling):
        losses[6] = losses[7] = 1.0 + 0.3 * epoch
        plan = selector.plan(epoch)
        if epoch < 3:
            selector.observe(IDS, torch.tensor(losses))
    assert set(range(6)) < set(plan.ids.tolist())
    assert len(plan) == 7
    assert selector.score()[:6].tolist() == pytest.approx([1.0] * 6)


@pytest.mark.parametrize(("epochs", "window"), [(2, 3), (9, 3), (12, 4), (29, 9), (30, 10), (200, 10)])
def test_the_default_window_shrinks_with_the_training(epochs, window):
    tracker = sw.recipes.alignprune().tracker.within(epochs)
    assert tracker.window == window


def test_bad_parameters_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"alignprune\.window must be >= 3, got 2"):
        sw.recipes.alignprune(window=2)
    with pytest.raises(ValueError, match=r"Alignment\.window must fit into a training of 5 epochs, got 9"):
        sw.Selector(sw.recipes.alignprune(window=9), N, epochs=5)
    other = sw.Subset(torch.tensor([1]), provenance={"n": N + 1})
    with pytest.raises(ValueError, match="reference was chosen from"):
        sw.Selector(sw.recipes.alignprune(reference=other), N, epochs=9)
