"""`uds` against plain loops: nuclear norms, distances to the samples chosen last, and the largest sums."""

import math

import numpy as np
import pytest
import torch
from plain import count

import samplewise as sw

N, B = 12, 4


def shown(logits):
    logits = torch.as_tensor(logits, dtype=torch.float32)
    return sw.Outputs(loss=torch.ones(len(logits)), logits=logits)


def plain(batches, keep, alpha, history):
    """The rows chosen of each batch, and the score of each row. `batches` are lists of (norm, vector)."""
    recent, chosen, scores = [], [], []
    for batch in batches:
        found = []
        for norm, z in batch:
            apart = [math.dist(z, other) for other in recent]
            found.append(norm + alpha * (math.fsum(apart) / len(apart) if apart else 0.0))
        k = count(len(batch), keep, least=2)
        rows = sorted(sorted(range(len(batch)), key=lambda i: (-round(found[i], 5), i))[:k])
        recent = (recent + [batch[i][1] for i in rows])[-history:]
        chosen.append(rows)
        scores.append(found)
    return chosen, scores


def run(selector, batches):
    """Observe and choose every batch of (ids, logits); the epochs have N / B batches."""
    chosen = []
    for step, (ids, logits) in enumerate(batches):
        if step % (N // B) == 0:
            selector.plan(step // (N // B))
        ids = torch.tensor(ids)
        selector.observe(ids, shown(logits))
        chosen.append(selector.choose(ids)[0].tolist())
    return chosen


def drawn(seed, classes=3, epochs=3):
    rng = np.random.default_rng(seed)
    return [
        (part.tolist(), rng.normal(size=(B, classes)).round(3).tolist())
        for _ in range(epochs)
        for part in np.split(rng.permutation(N), N // B)
    ]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("keep", "alpha", "history"), [(0.5, 1.0, 1024), (0.5, 3.0, 5), (0.75, 0.0, 5), (0.5, 20.0, 4)]
)
def test_the_rows_are_those_of_the_equations(seed, keep, alpha, history):
    batches = drawn(seed)
    selector = sw.Selector(sw.recipes.uds(keep, alpha, history), N, epochs=3, batch_size=B)
    seen = [[(math.hypot(*z), z) for z in logits] for _, logits in batches]
    expected, scores = plain(seen, keep, alpha, history)
    assert run(selector, batches) == expected
    last = {
        i: x for (ids, _), row in zip(batches, scores, strict=True) for i, x in zip(ids, row, strict=True)
    }
    assert selector.score().tolist() == pytest.approx([last[i] for i in range(N)], rel=1e-5)


def hartley(n):
    return np.array(
        [
            [math.cos(2 * math.pi * j * k / n) + math.sin(2 * math.pi * j * k / n) for j in range(n)]
            for k in range(n)
        ]
    ) / math.sqrt(n)


def factor(n, rows):
    """sqrt(n / rows) S H D with the draws of the library; the identity if nothing is to be projected."""
    if n <= rows:
        return np.eye(n)
    rng = sw.rng.generator("projection", n, rows)
    signs = torch.randint(2, (n,), generator=rng) * 2.0 - 1.0
    kept = torch.randperm(n, generator=rng)[:rows]
    return math.sqrt(n / rows) * hartley(n)[kept.numpy()] @ np.diag(signs.numpy())


def test_token_logits_take_singular_values_and_a_projection_of_both_sides():
    rng = np.random.default_rng(0)
    length, words = 6, 9
    batches = [(ids, rng.normal(size=(B, 3 + step % 3, words))) for step, (ids, _) in enumerate(drawn(1))]
    policy = sw.recipes.uds(0.5, 0.7, width=4, depth=2, length=length)
    left, right = factor(length, 2), factor(words, 4)
    seen = []
    for _, logits in batches:
        padded = [np.pad(matrix, ((0, length - len(matrix)), (0, 0))) for matrix in logits]
        norms = [math.fsum(np.sqrt(np.linalg.eigvalsh(m @ m.T).clip(0))) for m in logits]
        seen.append([(s, (left @ m @ right.T).ravel().tolist()) for s, m in zip(norms, padded, strict=True)])
    expected, scores = plain(seen, 0.5, 0.7, 1024)
    selector = sw.Selector(policy, N, epochs=3, batch_size=B)
    assert run(selector, batches) == expected
    last = {
        i: x for (ids, _), row in zip(batches, scores, strict=True) for i, x in zip(ids, row, strict=True)
    }
    assert selector.score().tolist() == pytest.approx([last[i] for i in range(N)], rel=1e-4)


@pytest.mark.parametrize("cut", [1, 2, 3, 5])
def test_the_history_is_saved_and_resumed(cut):
    batches = drawn(4)
    policy = sw.recipes.uds(0.5, 3.0, 7)
    selector = sw.Selector(policy, N, epochs=3, batch_size=B)
    whole = run(selector, batches)
    first = sw.Selector(policy, N, epochs=3, batch_size=B)
    run(first, batches[:cut])
    again = sw.Selector(policy, N, epochs=3, batch_size=B)
    again.load_state_dict(first.state_dict())
    chosen = []
    for step, (ids, logits) in enumerate(batches[cut:], start=cut):
        if step % (N // B) == 0:
            again.plan(step // (N // B))
        again.observe(torch.tensor(ids), shown(logits))
        chosen.append(again.choose(torch.tensor(ids))[0].tolist())
    assert chosen == whole[cut:]
    assert torch.equal(again.score(), selector.score())
    empty = sw.Selector(policy, N, epochs=3, batch_size=B)
    run(empty, batches[-N // B :])
    assert not torch.equal(empty.score(), selector.score())


def test_a_repeated_id_counts_once_in_the_history():
    selector = sw.Selector(sw.recipes.uds(0.5, 1.0), N, epochs=1, batch_size=B)
    selector.plan(0)
    ids = torch.tensor([0, 1, 0, 0])
    selector.observe(ids, shown([[3.0, 0.0], [2.0, 0.0], [3.0, 0.0], [3.0, 0.0]]))
    selector.choose(ids)
    # Sample 0 and perhaps copies of it were chosen: its vector is in the history once.
    selector.observe(torch.tensor([2]), shown([[0.0, 4.0]]))
    assert selector.score()[2].item() == pytest.approx(4 + 5)


def test_rows_that_were_not_chosen_are_not_in_the_history():
    selector = sw.Selector(sw.recipes.uds(0.5, 1.0), N, epochs=1, batch_size=B)
    selector.plan(0)
    ids = torch.arange(4)
    selector.observe(ids, shown([[3.0, 0.0], [0.0, 4.0], [1.0, 0.0], [0.0, 1.0]]))
    assert selector.choose(ids)[0].tolist() == [0, 1]
    selector.observe(torch.tensor([5]), shown([[0.0, 0.0]]))
    assert selector.score()[5].item() == pytest.approx((3 + 4) / 2)


def test_a_history_shorter_than_a_batch_is_refused():
    selector = sw.Selector(sw.recipes.uds(history=3), N, epochs=1, batch_size=B)
    selector.plan(0)
    with pytest.raises(ValueError, match=r"history must be at least the 4 rows of a batch, got 3"):
        selector.observe(torch.arange(4), shown(np.ones((4, 2))))


def test_token_logits_that_are_too_long_are_refused():
    selector = sw.Selector(sw.recipes.uds(length=3), N, epochs=1, batch_size=B)
    selector.plan(0)
    with pytest.raises(ValueError, match=r"length must be at least the number of tokens, 5, got 3"):
        selector.observe(torch.arange(2), shown(np.ones((2, 5, 4))))


def test_logits_of_other_shapes_are_refused():
    for method, dims, said in (
        ("uds", 4, r"\(2, classes\) or \(2, tokens, classes\)"),
        ("entropy", 3, r"\(2, classes\), got"),
    ):
        selector = sw.Selector(method, N, epochs=1)
        source = "pass" if method == "entropy" else "training"
        if method == "uds":
            selector.plan(0)
        else:
            selector = sw.Selector(sw.recipes.entropy(at=0), N, epochs=1)
        with pytest.raises(ValueError, match=said):
            selector.observe(torch.arange(2), shown(np.ones((2, 3, 4, 5)[:dims])), source=source)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"alpha": -1}, r"uds\.alpha must be >= 0, got -1"),
        ({"history": 0}, r"uds\.history must be in \[1, 65536\], got 0"),
        ({"width": 0}, r"uds\.width must be >= 1, got 0"),
        ({"depth": 0}, r"uds\.depth must be >= 1, got 0"),
        ({"length": 0}, r"uds\.length must be >= 1, got 0"),
        ({"keep": 50}, r"uds\.keep must be in \(0, 1\], got 50"),
    ],
)
def test_bad_numbers_are_refused_at_the_start(given, said):
    with pytest.raises(ValueError, match=said):
        sw.recipes.uds(**given)


def test_without_logits_the_error_says_what_to_return():
    selector = sw.Selector("uds", N, epochs=1)
    selector.plan(0)
    with pytest.raises(ValueError, match="uds needs logits: return"):
        selector.observe(torch.arange(2), torch.ones(2))
