"""color and rho_loss from stored losses of tokens: scores of sequences in plain Python."""

import pytest
import torch

import samplewise as sw
from samplewise.recipes.rho_loss import irreducible_losses
from samplewise.tokens import ReferenceLosses
from tests.tokens.toys import Rows, Tiny

TARGETS = [[3, 4, 5], [1, -100, -100], [2, 2, -100], [-100, -100, -100], [7, 8, 9]]
MARGINAL = [[2.0, 1.0, 3.0], [0.5, 0.0, 0.0], [4.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
CONDITIONAL = [[1.0, 1.0, 1.0], [0.75, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0], [2.0, 2.0, 2.0]]


def of(losses, targets=TARGETS, provenance=None):
    return ReferenceLosses.of(torch.tensor(losses), torch.tensor(targets), provenance)


def mean(losses, targets):
    real = [loss for loss, target in zip(losses, targets, strict=True) if target != -100]
    return sum(real) / len(real) if real else None


def by_hand(k):
    """Row i scores marginal less conditional loss. Rows without tokens come last."""
    scores = {}
    for i, targets in enumerate(TARGETS):
        before, after = mean(MARGINAL[i], targets), mean(CONDITIONAL[i], targets)
        scores[i] = float("-inf") if before is None else before - after
    return sorted(sorted(scores, key=lambda i: (-scores[i], i))[:k])


@pytest.mark.parametrize(("keep", "k"), [(0.2, 1), (0.4, 2), (0.6, 3), (0.8, 4), (1.0, 5)])
def test_the_sequences_with_the_largest_loss_reduction_are_kept(keep, k):
    policy = sw.recipes.color(of(CONDITIONAL), of(MARGINAL), keep=keep)
    assert policy.fixed_subset.ids.tolist() == by_hand(k)
    assert sw.Selector(policy, 5, epochs=2).plan(0).ids.tolist() == by_hand(k)


def test_both_models_are_charged(tmp_path):
    small, large, model = Tiny(1, width=3), Tiny(2), Tiny()
    paths = [tmp_path / "conditional.parquet", tmp_path / "marginal.parquet"]
    for path, one in zip(paths, (small, large), strict=True):
        sw.reference_losses(sw.language_model(one), Rows(), model=one, out=path)
    policy = sw.recipes.color(*paths, keep=0.5)
    selector = sw.Selector(policy, Rows(), sw.language_model(model), model=model, epochs=2, batch_size=5)
    for _ in range(2):
        for batch in selector.loader():
            selector.loss(batch).backward()
    expected = 3 * 2 * 10 + (small.flops(20) + large.flops(20)) / model.flops(1)
    assert selector.ledger.cost == pytest.approx(expected)


def test_losses_of_other_tokens_or_rows_are_refused():
    other = [*TARGETS[:2], [2, 3, -100], *TARGETS[3:]]
    with pytest.raises(
        ValueError, match=r"color.marginal and color.conditional are of different tokens for ids \[2\]"
    ):
        sw.recipes.color(of(CONDITIONAL), of(MARGINAL, other))
    with pytest.raises(ValueError, match=r"color.marginal is of 5 rows, but color.conditional of 4"):
        sw.recipes.color(of(CONDITIONAL[:4], TARGETS[:4]), of(MARGINAL))
    with pytest.raises(
        ValueError,
        match=r"color.conditional must be stored .*--method color:conditional=after.parquet,marginal=before",
    ):
        sw.recipes.color()
    with pytest.raises(ValueError, match="the subset was chosen from 5 samples, but this data set has 6"):
        sw.Selector(sw.recipes.color(of(CONDITIONAL), of(MARGINAL)), 6, epochs=1)


def test_row_means_are_those_of_blocks(monkeypatch):
    monkeypatch.setattr("samplewise.tokens.reference._ROWS", 2)
    expected = [mean(row, targets) or 0.0 for row, targets in zip(MARGINAL, TARGETS, strict=True)]
    assert of(MARGINAL).row_means().tolist() == pytest.approx(expected)


def test_rho_loss_takes_the_losses_of_tokens(tmp_path):
    reference, path = Tiny(1), tmp_path / "il.parquet"
    stored = sw.reference_losses(sw.language_model(reference), Rows(), model=reference, out=path)
    data = torch.utils.data.default_collate(list(Rows()))
    expected = sw.language_model(Tiny(1))(data).loss
    for given in (stored, path, str(path)):
        found = irreducible_losses(given)
        torch.testing.assert_close(found.values, expected.detach(), rtol=1e-5, atol=1e-6)
    model = Tiny()
    policy = sw.recipes.rho_loss(path, keep=0.5)
    selector = sw.Selector(policy, Rows(), sw.language_model(model), model=model, epochs=1, batch_size=10)
    for batch in selector.loader():
        own = sw.language_model(Tiny())(batch.data).loss.detach()
        excess = (own - expected.detach()[batch.ids]).tolist()
        best = sorted(sorted(range(10), key=lambda row: -excess[row])[:5])
        assert selector.narrow(batch).ids.tolist() == batch.ids[best].tolist()
        selector.reduce(sw.language_model(model)({k: v[best] for k, v in batch.data.items()}))
