"""Plans of very many samples, as bits: they choose, count, resume and share as other plans do."""

import io
import math
import pickle

import pytest
import torch

import samplewise as sw
from samplewise.data import bits
from samplewise.engine import engine as engines
from samplewise.engine.compact import COMPACT_FROM, CompactPlan
from samplewise.loop.ids import dealt
from samplewise.testing import LAWS, recipes
from samplewise.testing.trace import build
from tests.seams.toys import Net, make, step

N, EPOCHS = 700, 5
SAME = ("eswp", "evolved_sampling", "full", "ies", "kakurenbo", "noise_budget", "online_batch_selection")
SAME += ("seta", "ucb", "uncertainty_ema", "el2n", "random")
BETWEEN_EPOCHS = {made.name for made in recipes() if made.level in ("epoch", "epoch+batch")} - {"full", "ies"}
DRAWN = ("epsilon_greedy", "infobatch", "random_dynamic", "rs2")


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(bits, "PIECE", 128)


def outputs(ids, epoch):
    rng = torch.Generator().manual_seed(epoch)
    logits, targets = torch.randn(N, 3, generator=rng), torch.arange(N) % 3
    loss = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    return sw.Outputs(
        loss[ids], logits[ids], targets[ids], features=logits[ids], head=(torch.eye(3), torch.zeros(3))
    )


def selector_of(name, compact, **given):
    policy = build(sw.recipes.get(name), N, period=1)
    return sw.Selector(policy, N, epochs=EPOCHS, labels=torch.arange(N) % 3, compact=compact, **given)


def planned(selector, epoch):
    """The plan of an epoch, after the pass that it needs."""
    if selector.pass_due(epoch):
        ids = selector.pass_ids(epoch)
        assert ids.tolist() == [
            number for piece in selector.engine.pass_order(epoch).split(50) for number in piece.tolist()
        ]
        selector.observe(ids[1:], outputs(ids[1:], epoch), "pass")
        assert selector.pass_due(epoch)
        with pytest.raises(ValueError, match=f"1 samples, first ids .{int(ids[0])}., were not observed"):
            selector.plan(epoch)
        selector.observe(ids[:1], outputs(ids[:1], epoch), "pass")
        assert not selector.pass_due(epoch)
    return selector.plan(epoch)


def trained(selector, epoch):
    """An epoch in which every planned sample is observed."""
    plan = planned(selector, epoch)
    selector.observe(plan.ids, outputs(plan.ids, epoch))
    return plan


@pytest.mark.parametrize("name", SAME)
def test_the_same_samples_are_chosen_without_uniform_draws(name):
    plain, compact = (selector_of(name, compact) for compact in (False, True))
    for epoch in range(EPOCHS):
        one, two = trained(plain, epoch), trained(compact, epoch)
        assert isinstance(two, CompactPlan)
        assert not isinstance(one, CompactPlan)
        assert one == two
        assert (one.weights is None) == (two.weights is None)
        assert len(one) == len(two)
    assert torch.equal(plain.table().times_selected, compact.table().times_selected)
    assert plain.ledger.cost == compact.ledger.cost


@pytest.mark.parametrize("name", DRAWN)
def test_uniform_draws_keep_as_many_samples(name):
    plain, compact = (selector_of(name, compact, seed=3, history=True) for compact in (False, True))
    times = torch.zeros(N, dtype=torch.int32)
    for epoch in range(2):
        one, two = trained(plain, epoch), trained(compact, epoch)
        assert len(one) == len(two) or epoch
        times[two.ids] += 1
    assert torch.equal(compact.table().times_selected, times)
    assert torch.equal(compact.table().history.times(), times.long())


def test_the_weights_of_infobatch_add_up_to_all_samples():
    selector = selector_of("infobatch", True)
    trained(selector, 0)
    plan = planned(selector, 1)
    assert len(plan) < N
    assert float(plan.weights.sum()) == pytest.approx(N, rel=1e-6)
    losses = outputs(torch.arange(N), 0).loss.double()
    assert torch.equal(plan.weights > 1, losses[plan.ids] < losses.mean())
    assert torch.equal(selector.engine.weights(plan.ids[:9]), plan.weights[:9])
    assert torch.equal(selector.engine.weights(plan.ids[:9], over=4), plan.weights[:9] / 4)
    assert selector.engine.weighted
    with pytest.raises(ValueError, match="outside the data set"):
        selector.engine.weights(torch.tensor([N]))


def test_many_weights_are_found_by_id():
    selector = selector_of("noise_budget", True)
    trained(selector, 0)
    plan = planned(selector, 1)
    assert len(set(plan.weights.tolist())) > 9
    mixed = torch.randperm(len(plan), generator=torch.Generator().manual_seed(0))
    assert torch.equal(selector.engine.weights(plan.ids[mixed]), plan.weights[mixed])
    left_out = torch.ones(N, dtype=torch.bool)
    left_out[plan.ids] = False
    others = left_out.nonzero().squeeze(1)
    assert selector.engine.weights(others).tolist() == [1.0] * len(others)


@pytest.mark.parametrize("name", ["full", "infobatch", "ucb"])
def test_the_order_is_all_of_the_plan_and_new_in_every_epoch(name):
    selector, orders = selector_of(name, True), []
    for epoch in range(3):
        plan = trained(selector, epoch)
        orders.append(selector.timeline.order().tolist())
        assert sorted(orders[-1]) == plan.ids.tolist()
        assert list(selector.sampler()) == orders[-1]
        assert selector.mask().nonzero().squeeze(1).tolist() == plan.ids.tolist()
    assert orders[0] != orders[1] != orders[2]
    other = selector_of(name, True, seed=1)
    planned(other, 0)
    assert other.timeline.draw(False).tolist() != orders[0]


@pytest.mark.parametrize("world", [2, 3])
def test_shards_are_disjoint_and_together_the_plan(world):
    shards = []
    for rank in range(world):
        selector = selector_of("random_dynamic", True)
        plan = selector.plan(0)
        shards.append(dealt(selector.timeline.order(), 0, rank, world, False).tolist())
    together = [number for row in zip(*shards, strict=True) for number in row]
    assert together == selector.timeline.order().tolist()[: len(together)]
    assert len(plan) - world < len(together) <= len(plan)
    assert len(set(together)) == len(together)


# ----------------------------------------------------------------------------- interrupted runs


def through_a_file(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.mark.parametrize("name", ["infobatch", "ucb", "eswp", "kakurenbo", "random_dynamic", "noise_budget"])
def test_a_resumed_run_is_the_uninterrupted_one(name):
    def start():
        torch.manual_seed(0)
        selector, model = make(name, epochs=4, model=Net(dropout=0.0), batch_size=6, compact=True)
        return selector, model, torch.optim.SGD(model.parameters(), lr=0.1), selector.loader()

    def run(selector, optimizer, loader, log, stop=None):
        while selector.epoch < 4:
            for batch in loader:
                log.append((selector.epoch, batch.ids.tolist(), step(selector, optimizer, batch)))
                if len(log) == stop:
                    return

    whole = []
    selector, _, optimizer, loader = start()
    run(selector, optimizer, loader, whole)
    for stop in (2, len(whole) // 2 + 1):
        selector, model, optimizer, loader = start()
        log = []
        run(selector, optimizer, loader, log, stop)
        saved = through_a_file([selector.state_dict(), model.state_dict(), optimizer.state_dict()])
        assert saved[0]["engine"]["ids"] is None
        selector, model, optimizer, loader = start()
        for part, state in zip((selector, model, optimizer), saved, strict=True):
            part.load_state_dict(state)
        run(selector, optimizer, loader, log)
        assert log == whole


def test_a_copy_goes_on_as_the_original():
    selector = selector_of("infobatch", True)
    trained(selector, 0)
    plan = planned(selector, 1)
    copied = pickle.loads(pickle.dumps(plan))
    assert copied == plan
    assert torch.equal(copied.weights, plan.weights)
    assert repr(copied) == repr(sw.Subset(plan.ids, plan.weights))


def test_a_state_of_the_other_form_is_refused():
    states = {compact: selector_of("ucb", compact).state_dict() for compact in (False, True)}
    for compact in (False, True):
        wanted = f"the state is of compact={not compact}, .* Give Selector.compact={not compact}."
        with pytest.raises(ValueError, match=wanted):
            selector_of("ucb", compact).load_state_dict(states[not compact])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bits": None}, "must hold the plan of the open epoch"),
        ({"bits": {"rows": torch.zeros(3, dtype=torch.uint8), "heavy": None, "weight": 1.0}}, "rows"),
        ({"bits": {"heavy": None, "weight": 1.0}}, "rows"),
        ({"weights": torch.ones(3)}, "and 3 weights"),
    ],
)
def test_a_damaged_state_is_refused(change, message):
    selector = selector_of("random_dynamic", True)
    selector.plan(0)
    state = selector.state_dict()
    state["engine"] |= change
    with pytest.raises(ValueError, match=message):
        selector_of("random_dynamic", True).load_state_dict(state)


# ------------------------------------------------------------------------------------ the choice


def test_few_samples_are_planned_as_ever_and_many_as_bits():
    assert COMPACT_FROM == 1 << 25
    assert not sw.Selector("full", COMPACT_FROM - 1, epochs=1).engine.compact
    assert sw.Selector("full", COMPACT_FROM, epochs=1).engine.compact
    assert not sw.Selector("full", COMPACT_FROM, epochs=1, compact=False).engine.compact
    assert not sw.Selector("random_batch", None, epochs=1).engine.compact


def test_a_stream_cannot_be_planned_as_bits():
    with pytest.raises(ValueError, match=r"compact=True needs the number of samples, got None"):
        sw.Selector("random_batch", None, epochs=1, compact=True)
    with pytest.raises((TypeError, ValueError), match="compact"):
        sw.Selector("full", 9, epochs=1, compact="yes")


def test_your_own_method_is_planned_as_bits_too():
    class Half:
        level = "epoch"

        def observe(self, ids, outputs, source): ...

        def plan(self, epoch):
            return sw.Subset([1, 3], [2.0, 4.0])

        def choose(self, ids):
            return torch.arange(len(ids)), None

        def state_dict(self):
            return {}

        def load_state_dict(self, state): ...

    selector = sw.Selector(Half(), 5, epochs=2, compact=True)
    plan = selector.plan(0)
    assert isinstance(plan, CompactPlan)
    assert plan.weights.tolist() == [2.0, 4.0]
    assert selector.engine.weights(torch.tensor([3, 0, 1])).tolist() == [4.0, 1.0, 2.0]
    assert selector.table().times_selected.tolist() == [0, 1, 0, 1, 0]


@pytest.mark.parametrize("name", [name for name in SAME + DRAWN if name in BETWEEN_EPOCHS])
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_laws_hold_for_compact_plans(law, name, monkeypatch):
    monkeypatch.setattr(engines, "COMPACT_FROM", 1)
    law(sw.recipes.get(name))


def test_a_plan_takes_few_bytes_a_sample():
    selector = sw.Selector("infobatch", 64_000, epochs=3, compact=True)
    ids = selector.plan(0).ids
    selector.observe(ids, torch.rand(len(ids)))
    plan = selector.plan(1)
    selector.timeline.order()[:10].tolist()
    kept = [plan.marked.rows, plan.marked.heavy]
    held = sum(
        part.nbytes for one in kept for part in (one.words, one._before, one._hints) if part is not None
    )
    assert held <= 64_000 / 2
    assert math.isclose(float(plan.marked.weight), 2.0, rel_tol=1e-3)
