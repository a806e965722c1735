"""Methods that choose tokens in packed rows: the tokens, losses and weights of padded rows."""

import pytest
import torch

import samplewise as sw
from tests.integrations.test_packed_rows import DATA, one_row, one_row_with_ends, several_rows
from tests.integrations.trainer_runs import N, collate, llama, weights

BATCH, EPOCHS, KEEP = 6, 2, 0.4
METHODS = ["token_topk", "token_random", "rho_tokens", "rho_stored"]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Stored losses of a reference, computed on padded rows."""
    found, reference = tmp_path_factory.mktemp("stored") / "ref.parquet", llama(seed=1)
    forward = sw.language_model(reference)
    sw.reference_losses(forward, DATA, model=reference, out=found, batch_size=5, collate_fn=collate)
    return found


def policy_of(name, path, keep=KEEP):
    given = {"rho_tokens": {"reference": llama(seed=1)}, "rho_stored": {"reference": path}}.get(name, {})
    return sw.recipes.get(name.replace("stored", "tokens"))(**given, keep=keep)


def trained(policy, collating, of=None):
    """The chosen (id, position) of each step, its loss, the weights, and the counted tokens."""
    model, seen = llama(), []
    own = sw.language_model(model) if of is None else of(model)

    def forward(data):
        outputs = own(data)
        if torch.is_grad_enabled():
            outputs.token_losses.retain_grad()
            seen.append(outputs)
        return outputs

    forward.of = sw.language_model(model).of if of is None else of
    selector = sw.Selector(policy, DATA, forward, model=model, epochs=EPOCHS, batch_size=BATCH, seed=3)
    optimizer, steps = torch.optim.SGD(model.parameters(), lr=0.1), []
    for _ in range(EPOCHS):
        for batch in selector.loader(collate_fn=collating):
            loss = selector.loss(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            gradient = seen[-1].token_losses.grad
            chosen = [(int(batch.ids[row]), position) for row, position in gradient.nonzero().tolist()]
            steps.append((chosen, loss.item()))
    return steps, weights(model), (selector.ledger.tokens, selector.ledger.tokens_trained)


def same(found, expected):
    for (chosen, loss), (others, other) in zip(found[0], expected[0], strict=True):
        assert chosen == others
        assert loss == pytest.approx(other, abs=1e-6)
    torch.testing.assert_close(found[1], expected[1], rtol=0, atol=1e-6)
    assert found[2] == expected[2]
    assert found[2][1] < found[2][0]
    assert not torch.allclose(found[1], weights(llama()), rtol=0, atol=1e-3)


@pytest.fixture(scope="module")
def padded(path):
    made = {}

    def of(name):
        if name not in made:
            made[name] = trained(policy_of(name, path), collate)
        return made[name]

    return of


@pytest.mark.parametrize("collating", [one_row, one_row_with_ends, several_rows])
@pytest.mark.parametrize("name", METHODS)
def test_packed_rows_train_the_tokens_of_padded_rows(name, collating, padded, path):
    same(trained(policy_of(name, path), collating), padded(name))


def test_a_forward_of_ones_own_gives_the_marks_to_token_outputs(padded, path):
    def of(model):
        def forward(batch):
            ids, positions = batch["input_ids"], batch["position_ids"]
            logits = model(ids, position_ids=positions, use_cache=False).logits
            return sw.token_outputs(logits, batch["labels"], {"position_ids": positions})

        return forward

    same(trained(policy_of("rho_tokens", path), one_row, of), padded("rho_tokens"))


def test_without_the_batch_the_error_says_to_give_it(path):
    def of(model):
        return lambda batch: sw.token_outputs(model(batch["input_ids"]).logits, batch["labels"])

    with pytest.raises(ValueError, match=r"sw\.token_outputs\(logits, labels, batch\)"):
        trained(policy_of("token_topk", path), one_row, of)


def test_losses_stored_from_packed_rows_are_those_of_padded_rows(path, tmp_path):
    reference = llama(seed=1)
    given = {"model": reference, "batch_size": 5, "collate_fn": one_row}
    found = sw.reference_losses(sw.language_model(reference), DATA, out=tmp_path / "a.parquet", **given)
    expected = sw.tokens.ReferenceLosses.read(path)
    assert len(found) == N
    assert found.digests.equal(expected.digests)
    assert found.starts.equal(expected.starts)
    torch.testing.assert_close(torch.tensor(found.values), torch.tensor(expected.values), rtol=0, atol=1e-6)


def test_a_row_in_which_a_sequence_changed_is_refused(path):
    def changed(samples):
        row = one_row(samples)
        row["labels"][0, 1] = row["labels"][0, 1] % 29 + 1
        return row

    with pytest.raises(ValueError, match="the reference losses are of other tokens for ids"):
        trained(policy_of("rho_stored", path), changed)


class Wrapper(torch.nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, **given):
        return self.module(**given)


@pytest.mark.parametrize("wrap", [lambda model: model, Wrapper], ids=["bare", "wrapped"])
def test_a_model_of_transformers_runs_without_its_cache_only_where_rows_are_shared(wrap):
    model, seen = llama(), []
    model.register_forward_pre_hook(lambda *given: seen.append(given[-1].get("use_cache")), with_kwargs=True)
    forward = sw.language_model(wrap(model))
    row = one_row(DATA[:3])
    forward(collate(DATA[:3]))
    forward(row)
    forward({**row, "use_cache": True})
    assert seen == [None, False, True]
