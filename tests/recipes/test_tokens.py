"""rho_tokens, token_topk, token_random: which tokens carry a loss, from the formula in plain Python."""

import copy
import math

import pytest
import torch

import samplewise as sw
from samplewise.testing import recipes as registered
from samplewise.tokens.reference import as_reference
from tests.tokens.toys import Rows, Tiny

LOSSES = [[0.5, 2.0, 1.0, 9.0], [3.0, 0.25, 2.5, 0.1], [1.5, 8.0, 8.0, 8.0]]
TARGETS = [[4, 7, 1, -100], [2, 2, 9, 3], [5, -100, -100, -100]]
REFERENCE = [[0.4, 0.1, 1.5, 0.0], [2.75, 0.2, 0.5, 0.0], [0.0, 0.0, 0.0, 0.0]]


def step(policy, losses=LOSSES, targets=TARGETS, seed=0, epochs=1):
    """The loss of one batch with these losses of tokens, and the gradient of each of them."""
    leaf = torch.tensor(losses, requires_grad=True)
    real = torch.tensor(targets) != -100
    rows = torch.where(real, leaf, 0).sum(1) / real.sum(1).clamp(min=1)
    outputs = sw.Outputs(rows, token_losses=leaf, token_targets=torch.tensor(targets))
    selector = sw.Selector(policy, len(losses), lambda data: outputs, epochs=epochs, seed=seed)
    selector.plan(0)
    loss = selector.loss(sw.Batch(torch.arange(len(losses)), leaf.detach()))
    loss.backward()
    return loss.item(), leaf.grad, selector.ledger


def by_hand(scores, targets, keep):
    """SLM: the k % of the tokens of the batch with the largest scores, ties by position, in plain Python."""
    places = [(r, c) for r, row in enumerate(targets) for c, t in enumerate(row) if t != -100]
    k = len(places) - math.floor((1 - keep) * len(places) + 1e-9)
    return set(sorted(places, key=lambda at: (-scores[at[0]][at[1]], at))[:k])


def check(found, chosen, losses=LOSSES):
    loss, gradient, _ = found
    assert loss == pytest.approx(sum(losses[r][c] for r, c in chosen) / len(chosen))
    for r, row in enumerate(losses):
        for c in range(len(row)):
            assert gradient[r, c].item() == pytest.approx(1 / len(chosen) if (r, c) in chosen else 0.0)


@pytest.mark.parametrize("keep", [0.01, 0.3, 0.5, 0.6, 0.99, 1.0])
def test_the_largest_losses_of_the_batch_carry_a_loss(keep):
    found = step(sw.recipes.token_topk(keep=keep))
    chosen = by_hand(LOSSES, TARGETS, keep)
    check(found, chosen)
    assert (found[2].tokens, found[2].tokens_trained) == (8, len(chosen))


@pytest.mark.parametrize("keep", [0.2, 0.4, 0.6, 0.8])
def test_rho_tokens_ranks_by_the_loss_above_the_reference(keep):
    reference = sw.tokens.ReferenceLosses.of(torch.tensor(REFERENCE), torch.tensor(TARGETS))
    above = [[a - b for a, b in zip(*rows, strict=True)] for rows in zip(LOSSES, REFERENCE, strict=True)]
    check(step(sw.recipes.rho_tokens(reference, keep=keep)), by_hand(above, TARGETS, keep))


def test_the_reference_changes_the_choice():
    above = [[a - b for a, b in zip(*rows, strict=True)] for rows in zip(LOSSES, REFERENCE, strict=True)]
    assert by_hand(above, TARGETS, 0.6) != by_hand(LOSSES, TARGETS, 0.6)


def test_equal_losses_are_ordered_by_row_and_position():
    check(
        step(sw.recipes.token_topk(keep=0.5), [[1.0] * 4] * 3),
        {(0, 0), (0, 1), (0, 2), (1, 0)},
        [[1.0] * 4] * 3,
    )


def test_a_schedule_changes_the_share():
    policy = sw.recipes.token_topk(keep=sw.schedules.Linear(0.25, 1.0))
    assert step(policy, epochs=4)[2].tokens_trained == 2


def test_random_tokens_are_uniform_and_depend_on_the_seed():
    times, draws = torch.zeros(3, 4), 400
    for seed in range(draws):
        found = step(sw.recipes.token_random(keep=0.5), seed=seed)
        times += found[1] != 0
        assert found[2].tokens_trained == 4
    real = torch.tensor(TARGETS) != -100
    assert (times[~real] == 0).all()
    # Each of 8 tokens is drawn with probability 1 / 2: 4.5 standard deviations of the count.
    assert ((times[real] - draws / 2).abs() < 4.5 * math.sqrt(draws / 4)).all()


def test_losses_of_positions_without_a_token_may_be_anything():
    spoilt = [[0.5, 2.0, 1.0, math.nan], [3.0, 0.25, 2.5, 0.1], [1.5, math.inf, math.nan, -math.inf]]
    leaf, targets = torch.tensor(spoilt, requires_grad=True), torch.tensor(TARGETS)
    outputs = sw.Outputs(torch.ones(3), token_losses=leaf, token_targets=targets)
    selector = sw.Selector("token_topk", 3, lambda data: outputs, epochs=1)
    selector.plan(0)
    loss = selector.loss(sw.Batch(torch.arange(3), leaf.detach()))
    loss.backward()
    chosen = by_hand(LOSSES, TARGETS, 0.6)
    assert loss.item() == pytest.approx(sum(LOSSES[r][c] for r, c in chosen) / len(chosen))
    assert {tuple(at) for at in leaf.grad.nonzero().tolist()} == chosen


def test_a_batch_without_tokens_has_loss_zero():
    loss, _, ledger = step(sw.recipes.token_topk(), targets=[[-100] * 4] * 2 + [TARGETS[2]])
    assert (loss, ledger.tokens_trained) == (1.5, 1)
    leaf = torch.ones(2, 3, requires_grad=True)
    none = sw.Outputs(torch.zeros(2), token_losses=leaf, token_targets=torch.full((2, 3), -100))
    selector = sw.Selector("token_topk", 2, lambda data: none, epochs=1)
    selector.plan(0)
    found = selector.loss(sw.Batch(torch.arange(2), torch.zeros(2)))
    found.backward()
    assert found.item() == 0
    assert leaf.grad.tolist() == [[0.0] * 3] * 2


def test_losses_that_are_not_finite_are_refused_with_their_ids():
    spoilt = [LOSSES[0], [3.0, math.nan, 2.5, 0.1], LOSSES[2]]
    with pytest.raises(ValueError, match=r"loss is not finite for ids \[1\] in epoch 0"):
        step(sw.recipes.token_topk(), spoilt)


def trained(policy, model=None, batch=6, epochs=2, seed=0, forward=None):
    """A training of the tiny model in the ordinary loop."""
    model = Tiny() if model is None else model
    forward = sw.language_model(model) if forward is None else forward
    selector = sw.Selector(policy, Rows(), forward, model=model, epochs=epochs, batch_size=batch, seed=seed)
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.3), []
    for _ in range(epochs):
        for given in selector.loader():
            loss = selector.loss(given)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return selector, model, losses


@pytest.mark.parametrize("name", [r.name for r in registered() if r.level == "token"])
def test_one_loop_trains_a_language_model(name):
    policy = sw.recipes.get(name)(**({"reference": Tiny(1)} if name == "rho_tokens" else {}), keep=0.5)
    data = torch.utils.data.default_collate(list(Rows()))
    before = sw.language_model(Tiny())(data).loss.mean().item()
    selector, model, _ = trained(policy, epochs=30)
    assert sw.language_model(copy.deepcopy(model))(data).loss.mean().item() < before - 0.2
    assert model.rows == {True: 30 * 20, False: 0}
    assert selector.ledger.samples_backpropagated == 30 * 20


def test_the_mean_over_the_tokens_is_that_of_torch():
    """`full` with losses by token: cross-entropy of the whole batch, as torch reduces it."""
    model, data = Tiny(), Rows()
    batch = torch.utils.data.default_collate([data[i] for i in range(6)])
    selector = sw.Selector("full", 20, sw.language_model(model), model=model, epochs=1)
    selector.plan(0)
    loss = selector.loss(sw.Batch(torch.arange(6), batch))
    logits = model(batch["input_ids"])[:, :-1].flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(logits, batch["labels"][:, 1:].flatten())
    torch.testing.assert_close(loss, expected)


def test_a_reference_model_chooses_as_its_stored_losses_do(tmp_path):
    reference = Tiny(1)
    reference.train()
    path = tmp_path / "ref.parquet"
    stored = sw.reference_losses(
        sw.language_model(reference), Rows(), model=reference, out=path, batch_size=7
    )
    ran = trained(sw.recipes.rho_tokens(reference, keep=0.4))
    for given in (stored, path, str(path)):
        looked_up = trained(sw.recipes.rho_tokens(given, keep=0.4))
        assert looked_up[2] == ran[2]
        assert looked_up[0].ledger.tokens_trained == ran[0].ledger.tokens_trained
    assert reference.training


def test_a_reference_model_is_charged_by_its_flops_and_nothing_else_is_saved():
    small = Tiny(1, width=3)
    selector, model, _ = trained(sw.recipes.rho_tokens(small, keep=0.1))
    ledger = selector.ledger
    assert small.rows == {True: 0, False: 40}
    assert (ledger.samples_backpropagated, ledger.scoring_forwards, ledger.cheap_scoring_forwards) == (
        40,
        0,
        40,
    )
    assert ledger.cheap_flops == small.flops(40)
    assert ledger.cost == pytest.approx(3 * 40 + small.flops(40) / model.flops(1))
    assert ledger.promised < 0  # a token without a loss saves nothing
    assert "tokens with a loss" in str(ledger)
    assert ledger.as_dict()["tokens_trained"] == ledger.tokens_trained < ledger.tokens
    whole = trained(sw.recipes.rho_tokens(small, keep=1))[0].ledger
    assert (whole.cheap_scoring_forwards, whole.cost) == (0, 120)


def test_a_stored_reference_is_charged_once_by_its_flops(tmp_path):
    small = Tiny(1, width=3)
    path = tmp_path / "ref.parquet"
    sw.reference_losses(sw.language_model(small), Rows(), model=small, out=path, batch_size=7)
    assert small.rows == {True: 0, False: 20}
    selector, model, _ = trained(sw.recipes.rho_tokens(path, keep=0.5))
    assert small.rows == {True: 0, False: 20}
    assert selector.ledger.cost == pytest.approx(3 * 40 + small.flops(20) / model.flops(1))
    assert selector.ledger.cost_without_scoring == 3 * 40


def test_what_needs_tokens_refuses_what_has_none():
    net = torch.nn.Sequential(torch.nn.Linear(4, 3))
    with pytest.raises(ValueError, match=r"token_topk chooses tokens, .* of a classifier"):
        sw.Selector("token_topk", 8, sw.classifier(net, head="0"), model=net, epochs=1)
    selector = sw.Selector("token_topk", 8, lambda data: data, epochs=1)
    selector.plan(0)
    with pytest.raises(
        ValueError, match="token_topk chooses tokens, so forward must return a loss for every"
    ):
        selector.loss(sw.Batch(torch.arange(3), torch.ones(3)))
    wrong = sw.Outputs(torch.ones(3), token_losses=torch.ones(3, 4), token_targets=torch.ones(3, 5))
    selector = sw.Selector("token_topk", 8, lambda data: wrong, epochs=1)
    selector.plan(0)
    with pytest.raises(ValueError, match=r"of the same shape \(3, tokens\), got \(3, 4\) and \(3, 5\)"):
        selector.loss(sw.Batch(torch.arange(3), torch.ones(3)))


def test_every_forward_must_return_losses_by_token():
    whole = sw.Outputs(torch.ones(3), token_losses=torch.ones(3, 2), token_targets=torch.ones(3, 2).long())
    returned = [whole, torch.ones(3)]
    selector = sw.Selector("token_topk", 8, lambda data: returned.pop(0), epochs=1)
    selector.plan(0)
    selector.loss(sw.Batch(torch.arange(3), torch.ones(3)))
    with pytest.raises(ValueError, match="token_topk chooses tokens, but forward returned no token_losses"):
        selector.loss(sw.Batch(torch.arange(3, 6), torch.ones(3)))


def test_rows_have_no_factors_where_tokens_are_chosen():
    selector = sw.Selector("token_topk", 8, epochs=1)
    selector.plan(0)
    selector.narrow(sw.Batch(torch.arange(3), torch.ones(3)))
    assert selector.awaits_losses
    with pytest.raises(ValueError, match=r"rows have no factors. Call selector.reduce\(outputs\)"):
        selector.weigh(
            sw.Outputs(torch.ones(3), token_losses=torch.ones(3, 2), token_targets=torch.ones(3, 2).long())
        )
    with pytest.raises(RuntimeError, match="token_topk needs the losses of every batch"):
        selector.narrow(sw.Batch(torch.arange(3, 6), torch.ones(3)))


def test_a_reference_is_refused_at_the_start_if_it_cannot_run():
    with pytest.raises(
        ValueError,
        match=r"rho_tokens.reference must be stored losses, .* got None.*--method rho_tokens:reference=ref",
    ):
        sw.recipes.rho_tokens()
    with pytest.raises(ValueError, match=r"rho_tokens.reference must be .* got a int"):
        as_reference(3, "rho_tokens")
    with pytest.raises(ValueError, match=r"cannot run another model: .*<lambda> has no `of\(model\)`"):
        sw.Selector(sw.recipes.rho_tokens(Tiny(1)), Rows(), lambda data: data, epochs=1, batch_size=4)
    other = sw.tokens.Reference(Tiny(1), lambda data: torch.ones(len(data["labels"])))
    with pytest.raises(ValueError, match=r"Reference.forward must return token_losses"):
        trained(sw.recipes.rho_tokens(other))


def test_a_reference_that_is_not_finite_or_sees_other_tokens_is_refused():
    broken = Tiny(1)
    with torch.no_grad():
        broken.out.bias.fill_(math.nan)
    with pytest.raises(ValueError, match=r"the loss of the reference is not finite for ids \["):
        trained(sw.recipes.rho_tokens(broken))

    def shifted(data):
        return sw.language_model(broken)({**data, "labels": data["labels"].roll(1, 1)})

    with pytest.raises(ValueError, match="token_targets of the model's forward, but returned other ones"):
        trained(sw.recipes.rho_tokens(sw.tokens.Reference(broken, shifted)))


class Sized(Tiny):
    """Says how many tokens it knows, as models of transformers do."""

    def __init__(self, words):
        super().__init__(1)
        self.word = torch.nn.Embedding(words, 6)

    def get_input_embeddings(self):
        return self.word


def test_a_reference_that_lacks_tokens_of_the_batch_is_refused():
    largest = max(int(row.max()) for row in Rows().rows)
    with pytest.raises(
        ValueError, match=rf"its vocabulary has {largest} and the batch has token {largest}\."
    ):
        trained(sw.recipes.rho_tokens(Sized(largest)), batch=20)
    # Every batch is looked at, here only the last of three has the token that is not known.
    rows = [torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.int64), torch.full((4,), 12)]
    selector = sw.Selector(
        sw.recipes.rho_tokens(Sized(12)), 3, sw.language_model(Tiny()), model=Tiny(), epochs=1
    )
    selector.plan(0)
    for i, row in enumerate(rows):
        batch = sw.Batch(torch.tensor([i]), {"input_ids": row[None], "labels": row[None]})
        if i < 2:
            selector.loss(batch)
        else:
            with pytest.raises(ValueError, match="vocabulary has 12 and the batch has token 12"):
                selector.loss(batch)
    # Embeddings are often padded: more of them are no fault.
    trained(sw.recipes.rho_tokens(Sized(64)))


def test_a_batch_without_labels_is_told_to_have_them():
    forward = sw.language_model(Tiny())
    with pytest.raises(ValueError, match=r"got \['input_ids'\]\. Add `labels` in the data set or collate_fn"):
        forward({"input_ids": torch.zeros(2, 3, dtype=torch.int64)})
    with pytest.raises(ValueError, match=r"got \['labels'\]\. Write a forward that returns"):
        forward({"labels": torch.zeros(2)})


def test_a_method_that_needs_class_scores_says_that_a_language_model_has_none():
    for policy, needed in [("kakurenbo", "logits and targets"), ("el2n", "logits and targets")]:
        with pytest.raises(
            ValueError, match=f"{policy} needs {needed}: class scores and one label"
        ) as refused:
            trained(policy)
        assert "does not work with it. Use one such as infobatch" in str(refused.value)


def test_a_choice_of_tokens_stands_alone():
    with pytest.raises(ValueError, match=r"Policy.token_choice must stand alone"):
        sw.Policy(token_choice=sw.tokens.TopTokens(0.5), picker=sw.pickers.TopK(0.5))
    with pytest.raises(ValueError, match=r"must be a method of level batch, got token_topk of level token"):
        sw.combine("infobatch", "token_topk")


def test_states_of_an_earlier_version_without_tokens_are_read():
    selector, _, _ = trained("full", epochs=1)
    state = selector.state_dict()
    for name in ("tokens", "tokens_trained", "prior_flops"):
        del state["ledger"][name]
    other = sw.Selector("full", Rows(), sw.language_model(Tiny()), epochs=1, batch_size=6)
    other.load_state_dict(state)
    assert (other.ledger.samples_backpropagated, other.ledger.tokens) == (20, 0)
