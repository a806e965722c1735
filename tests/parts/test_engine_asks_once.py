"""What an engine says of the open epoch, so that a step need not ask for it."""

import pytest
import torch

import samplewise as sw
from samplewise.engine.own_method import adopt


def test_the_open_plan_says_whether_it_has_weights():
    engine = adopt(sw.recipes.infobatch(), 8, 4, 0, None)
    assert not engine.weighted
    engine.plan(0)
    assert not engine.weighted
    engine.memory.observe(torch.arange(8), sw.Outputs(torch.arange(8.0)), "training")
    engine.plan(1)
    assert engine.weighted
    assert engine.weights(torch.arange(8)) is not None


class Looks:
    level = "batch"

    def observe(self, ids, outputs, source): ...
    def plan(self, epoch):
        return torch.arange(8)

    def choose(self, ids):
        return torch.arange(len(ids)), None

    def state_dict(self):
        return {}

    def load_state_dict(self, state): ...
    def look(self, ids, data): ...


def test_only_a_method_with_look_is_shown_data():
    assert not adopt(sw.recipes.full(), 8, 4, 0, None).looks
    assert adopt(Looks(), 8, 4, 0, None).looks


NAMES = ("narrows", "scores_batches", "observes_chosen", "uneven", "computes", "looks", "weighted")


def told(engine):
    return {name: getattr(engine, name) for name in (*NAMES, "uses_training", "together", "epoch", "opened")}


def test_annealing_is_decided_when_an_epoch_opens():
    """Evolved sampling narrows no batch in its first and last epochs."""
    engine = adopt(sw.recipes.evolved_sampling(keep=0.5, anneal=0.25), 8, 8, 0, None)
    seen = []
    for epoch in range(8):
        engine.plan(epoch)
        engine.memory.observe(torch.arange(8), sw.Outputs(torch.arange(8.0)), "training")
        seen.append((engine.narrows, len(engine.choose(torch.arange(8))[0])))
        engine.close()
    assert seen == [(False, 8)] * 2 + [(True, 4)] * 4 + [(False, 8)] * 2


@pytest.mark.parametrize("name", ["infobatch", "evolved_sampling", "el2n", "selective_backprop"])
def test_a_loaded_state_decides_what_the_saved_one_had_decided(name):
    engine, seen = adopt(sw.recipes.get(name)(), 8, 30, 0, None), set()
    for epoch in range(30):
        engine.plan(epoch)
        seen_now = sw.Outputs(torch.rand(8), torch.rand(8, 3), torch.zeros(8, dtype=torch.int64))
        for _ in range(2):  # in the open epoch, and between two
            other = adopt(sw.recipes.get(name)(), 8, 30, 0, None)
            other.load_state_dict(engine.state_dict())
            assert told(other) == told(engine)
            seen.add(tuple(getattr(engine, name) for name in (*NAMES, "uses_training")))
            if engine.opened:
                engine.memory.observe(torch.arange(8), seen_now, "training")
                engine.close()
    assert len(seen) > 1  # so there was something to decide


def test_static_methods_use_training_until_their_score_is_final():
    engine = adopt(sw.Recorder([sw.recipes.el2n(first=2), sw.recipes.entropy()]), 8, 4, 0, None)
    seen = sw.Outputs(torch.rand(8), torch.rand(8, 3), torch.zeros(8, dtype=torch.int64))
    used = []
    for epoch in range(4):
        engine.plan(epoch)
        used.append((engine.uses_training, engine.memory.observe(torch.arange(8), seen, "training")))
        engine.close()
    assert used == [(True, True)] * 2 + [(False, False)] * 2
    assert engine.unfinished() == ["entropy"]
    assert engine.memory.uses("pass")
    assert not engine.uses_training


def test_a_method_of_ones_own_may_leave_batches_whole_at_any_time():
    engine = adopt(Looks(), 8, 4, 0, None)
    engine.plan(0)
    assert engine.narrows
    engine.method.narrows = False
    assert not engine.narrows
    engine.choose(torch.arange(4))
    assert engine.times_selected.sum() == 0
    engine.method.narrows = True
    engine.choose(torch.arange(4))
    assert engine.times_selected.tolist() == [1] * 4 + [0] * 4


def test_the_memory_stays_the_same_object_when_a_state_is_loaded():
    engine = adopt(sw.recipes.infobatch(), 8, 4, 0, None)
    memory = engine.memory
    engine.plan(0)
    memory.observe(torch.arange(8), sw.Outputs(torch.arange(8.0)), "training")
    other = adopt(sw.recipes.infobatch(), 8, 4, 1, None)
    other.plan(0)
    engine.load_state_dict(other.state_dict())
    assert engine.memory is memory
    assert memory.columns == {}
