"""The gate behind Lightning, Accelerate and the Trainer: it times their steps as those of the plain loop."""

import time

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState

import samplewise as sw
from samplewise.integrations.accelerate import prepare
from tests.integrations.lightning_toys import Net, loop_of, select, trainer_for
from tests.integrations.trainer_runs import bert, selective
from tests.seams import toys

pytestmark = [
    pytest.mark.usefixtures("quick_training"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
]
POLICY = sw.recipes.loss_sampling(keep=0.5)


@pytest.fixture
def timed(monkeypatch):
    """Lets every forward of a model take seconds: 1 a row, and `scoring` a row without gradient."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def let(model, scoring):
        def takes(module, inputs, kwargs):
            given = inputs[0] if inputs else next(iter(kwargs.values()))
            now[0] += len(given) * (1.0 if torch.is_grad_enabled() else scoring)

        model.register_forward_pre_hook(takes, with_kwargs=True)
        return model

    return let


def decided(selector):
    return [(d["epoch"], round(d["cost"], 3), d["pays"], d["selects"]) for d in selector.ledger.decisions]


@pytest.mark.parametrize("scoring", [0.1, 5.0])
def test_lightning_decides_as_the_plain_loop_does(timed, scoring):
    net, plain = (timed(Net(dropout=0.0), scoring) for _ in range(2))
    selector, reference = (select(POLICY, one, epochs=16, gate=True) for one in (net, plain))
    torch.manual_seed(3)
    if scoring > 1:
        with pytest.warns(UserWarning, match="Selection ends"):
            trainer_for(selector).fit(net, selector.loader())
        with pytest.warns(UserWarning, match="Selection ends"):
            loop_of(reference, plain)
    else:
        trainer_for(selector).fit(net, selector.loader())
        loop_of(reference, plain)
    assert decided(selector) == decided(reference)
    assert decided(selector)[0][1:] == (0.5 + scoring, int(scoring < 1), int(scoring < 1))
    assert list(map(len, net.trained)) == list(map(len, plain.trained))


def test_accelerate_decides_as_the_plain_loop_does(timed):
    net = timed(toys.Net(), 0.1)
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    net, optimizer = accelerator.prepare(net, torch.optim.SGD(net.parameters(), lr=0.05))
    selector, _ = toys.make(POLICY, toys.Tensors(96), epochs=16, model=net, gate=True)
    for _ in range(16):
        for batch in prepare(selector, accelerator):
            with accelerator.accumulate(net):
                accelerator.backward(selector.loss(batch))
                optimizer.step()
                optimizer.zero_grad()
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    assert [told[1:] for told in decided(selector)] == [(0.6, 1, 1)]
    assert selector.ledger.plain_steps == 2 * 28


def test_a_trainer_times_optimizer_steps_with_all_their_micro_batches(tmp_path, timed):
    settings = {"gate": True}
    model = timed(bert(), 5.0)
    trainer = selective(
        tmp_path,
        POLICY,
        model=model,
        settings=settings,
        num_train_epochs=40,
        gradient_accumulation_steps=2,
        save_strategy="no",
    )
    with pytest.warns(UserWarning, match="a narrowed step of loss_sampling took 5.50 of a plain one"):
        trainer.train()
    assert [told[1:] for told in decided(trainer.selector)] == [(5.5, 0, 0)]
    assert trainer.selector.ledger.plain_steps > 28
