"""Methods that choose tokens, under Accelerate and Lightning: the tokens and weights of the plain loop."""

import lightning
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState

import samplewise as sw
from samplewise.integrations.accelerate import prepare
from samplewise.integrations.lightning import weighted_mean
from tests.integrations.lightning_toys import trainer_for
from tests.integrations.test_packed_rows import DATA, one_row
from tests.integrations.trainer_runs import N, collate, llama, weights

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
]
EPOCHS, BATCH = 2, 6


@pytest.fixture(autouse=True)
def no_state_of_another_test():
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


class Noting:
    """A forward that keeps the losses of the tokens of every step."""

    def __init__(self, model):
        self.own, self.seen = sw.language_model(model), []
        self.of = self.own.of

    def __call__(self, batch):
        outputs = self.own(batch)
        outputs.token_losses.retain_grad()
        self.seen.append(outputs.token_losses)
        return outputs

    def chosen(self):
        return [losses.grad.nonzero().tolist() for losses in self.seen]


class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.model = llama()
        self.noting = Noting(self.model)

    def training_step(self, batch, batch_idx):
        return weighted_mean(self, self.noting(batch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def select(policy, forward, model):
    return sw.Selector(policy, DATA, forward, model=model, epochs=EPOCHS, batch_size=BATCH, seed=3)


def plain(policy, collating):
    model = llama()
    forward, optimizer = Noting(model), torch.optim.SGD(model.parameters(), lr=0.1)
    selector = select(policy, forward, model)
    for _ in range(EPOCHS):
        for batch in selector.loader(collate_fn=collating):
            optimizer.zero_grad()
            selector.loss(batch).backward()
            optimizer.step()
    return forward, model, selector


def by_accelerate(policy, collating):
    accelerator, net = Accelerator(cpu=True), llama()
    model, optimizer = accelerator.prepare(net, torch.optim.SGD(net.parameters(), lr=0.1))
    forward = Noting(model)
    selector = select(policy, forward, model)
    loader = prepare(selector, accelerator, collate_fn=collating)
    for _ in range(EPOCHS):
        for batch in loader:
            optimizer.zero_grad()
            accelerator.backward(selector.loss(batch))
            optimizer.step()
    return forward, model, selector


def by_lightning(policy, collating):
    module = Module()
    selector = select(policy, module.noting, module)
    trainer_for(selector).fit(module, selector.loader(collate_fn=collating))
    return module.noting, module.model, selector


@pytest.mark.parametrize("collating", [collate, one_row])
@pytest.mark.parametrize("name", ["token_topk", "token_random", "rho_tokens"])
@pytest.mark.parametrize("framework", [by_accelerate, by_lightning])
def test_the_tokens_are_those_of_the_plain_loop(framework, name, collating):
    given = {"reference": llama(seed=1)} if name == "rho_tokens" else {}
    policy = sw.recipes.get(name)(**given, keep=0.4)
    forward, model, selector = framework(policy, collating)
    other, there, beside = plain(policy, collating)
    chosen = forward.chosen()
    assert chosen == other.chosen()
    torch.testing.assert_close(weights(model), weights(there), rtol=0, atol=1e-7)
    assert not torch.allclose(weights(model), weights(llama()), rtol=0, atol=1e-3)
    ledger = selector.ledger
    tokens = EPOCHS * sum(label != -100 for row in DATA for label in row["labels"][1:])
    assert (ledger.tokens, ledger.tokens_trained) == (tokens, sum(map(len, chosen)))
    assert ledger.samples_backpropagated == EPOCHS * N
    assert (ledger.tokens, ledger.tokens_trained) == (beside.ledger.tokens, beside.ledger.tokens_trained)


def test_lightning_runs_a_reference_in_the_precision_of_the_training():
    reference, seen = llama(seed=1), []
    reference.register_forward_pre_hook(lambda *given: seen.append(torch.is_autocast_enabled("cpu")))
    module = Module()
    selector = select(sw.recipes.rho_tokens(reference, keep=0.4), module.noting, module)
    trainer = trainer_for(selector, precision="bf16-mixed")
    trainer.fit(module, selector.loader(collate_fn=collate))
    assert seen == [True] * EPOCHS * -(-N // BATCH)
    assert selector.forward is module.noting
