"""Another, small model that scores, behind Lightning, Accelerate and the Trainer: as in the plain loop."""

import copy
import functools

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from torch.nn import functional as F

import samplewise as sw
from samplewise.integrations.accelerate import prepare
from tests.integrations.lightning_toys import Net, loop_of, select, trainer_for
from tests.integrations.trainer_runs import SaveAt, bert, classes, collate, selective, weights
from tests.seams import toys

pytestmark = [
    pytest.mark.usefixtures("quick_training"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
]
SGD = functools.partial(torch.optim.SGD, momentum=0.9)


def scoring():
    """A small model, and scoring with it."""
    small = toys.Net(dropout=0.2)
    scorer = sw.Scorer(small, toys.forward_of(small), every=2, lr=0.05, optimizer=SGD)
    return small, sw.Scoring(scorer=scorer)


def assert_same(one, other):
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


@pytest.mark.parametrize("policy", [sw.recipes.evolved_sampling(), sw.recipes.ucb(period=2)])
def test_lightning_trains_both_models_as_the_plain_loop_does(policy):
    (small, mine), (other, theirs) = scoring(), scoring()
    net, plain = Net(dropout=0.0), Net(dropout=0.0)
    selector = select(policy, net, scoring=mine)
    trainer = trainer_for(selector)
    torch.manual_seed(3)
    trainer.fit(net, selector.loader())
    reference = loop_of(select(policy, plain, scoring=theirs), plain)
    assert net.trained == plain.trained
    assert_same(small, other)
    assert_same(net, plain)
    ledger, wanted = selector.ledger, reference.ledger
    assert (ledger.scoring_forwards, ledger.cheap_flops) == (0, wanted.cheap_flops)
    assert ledger.cost == wanted.cost


def test_accelerate_trains_both_models_as_the_plain_loop_does():
    policy, found = sw.recipes.ordered_sgd(keep=0.5), []
    for accelerated in (False, True):
        small, mine = scoring()
        net = toys.Net()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
        torch.manual_seed(3)
        if accelerated:
            accelerator = Accelerator(cpu=True)
            net, optimizer = accelerator.prepare(net, optimizer)
        selector, _ = toys.make(policy, model=net, scoring=mine)
        loader = prepare(selector, accelerator) if accelerated else selector.loader()
        for _ in range(4):
            for batch in loader:
                loss = selector.loss(batch)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
        found.append((small, net, selector.ledger.cost))
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    (small, net, cost), (other, there, same) = found
    assert_same(small, other)
    assert_same(net, there)
    assert cost == same


def replayed(batches, small, every):
    """What a loop by hand chooses from these ids with a small model, which it trains."""
    data, optimizer, chosen = classes(), torch.optim.SGD(small.parameters(), lr=0.1), []
    for number, ids in enumerate(batches):
        inputs = collate([data[i] for i in ids])
        labels = inputs.pop("labels")
        small.eval()
        with torch.no_grad():
            losses = F.cross_entropy(small(**inputs).logits, labels, reduction="none")
        keep = max(2, round(0.5 * len(ids)))
        rows = sorted(losses.argsort(descending=True)[:keep].tolist())
        chosen.append([ids[row] for row in rows])
        small.train()
        if number % every == 0:
            optimizer.zero_grad()
            F.cross_entropy(small(**inputs).logits, labels).backward()
            optimizer.step()
    return chosen


def test_a_trainer_runs_the_small_model_by_its_own_head(tmp_path):
    small = bert(seed=1)
    alone = copy.deepcopy(small)
    scorer = sw.Scorer(small, every=2, lr=0.1, optimizer=torch.optim.SGD)
    settings = {"scoring": sw.Scoring(scorer=scorer)}
    trainer = selective(tmp_path, sw.recipes.ordered_sgd(keep=0.5), settings=settings)
    came, chosen = [], []
    step = trainer.selection.loss

    def noting(*arguments):
        selector = trainer.selector
        if "narrow" not in vars(selector):
            narrow = selector.narrow

            def noted(batch):
                kept = narrow(batch)
                came.append(batch.ids.tolist())
                chosen.append(kept.ids.tolist())
                return kept

            selector.narrow = noted
        return step(*arguments)

    trainer.selection.loss = noting
    trainer.train()
    assert chosen == replayed(came, alone, 2)
    torch.testing.assert_close(weights(small), weights(alone))
    ledger = trainer.selector.ledger
    assert ledger.scoring_forwards == 0
    assert ledger.cheap_scoring_forwards == sum(map(len, came))
    assert ledger.forward_flops > 0 < ledger.cheap_flops


def test_a_trainer_resumes_the_small_model(tmp_path):
    ends = []
    for resume in (None, str(tmp_path / "checkpoint-9")):
        small = bert(seed=1)
        settings = {"scoring": sw.Scoring(scorer=small)}
        trainer = selective(
            tmp_path,
            sw.recipes.ordered_sgd(keep=0.5),
            settings=settings,
            extra={"callbacks": [SaveAt(9)]},
            save_strategy="steps",
            save_steps=1000,
        )
        trainer.train(resume_from_checkpoint=resume)
        ends.append((weights(small), weights(trainer)))
    for one, other in zip(*ends, strict=True):
        assert torch.equal(one, other)
