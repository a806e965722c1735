"""What an engine says of the open epoch, so that a step need not ask for it."""

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
