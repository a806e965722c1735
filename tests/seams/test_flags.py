"""Flags of a model are set as `train()` sets them, and restored, whatever its classes and its tree do."""

import copy
import gc
import weakref

import pytest
import torch
from torch import nn

import samplewise as sw
from samplewise.loop.scoring import Flags, modules_of, without_trace


class Frozen(nn.Module):
    """Keeps its norm in eval mode, as fine-tuning code does, and notes the calls of `train`."""

    def __init__(self):
        super().__init__()
        self.norm, self.inner, self.calls = nn.BatchNorm1d(2), nn.Sequential(nn.ReLU()), []

    def train(self, mode=True):
        self.calls.append(mode)
        super().train(mode)
        self.norm.eval()
        return self


class Derived(nn.Module):
    """Its flag is computed, as that of a compiled module."""

    def __init__(self):
        super().__init__()
        self.inner = nn.ReLU()

    @property
    def training(self):
        return self.inner.training

    @training.setter
    def training(self, value):
        if hasattr(self, "inner"):
            self.inner.training = value


def plain():
    shared = nn.Dropout()
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(shared, nn.BatchNorm1d(2).eval()), shared)
    model.register_module("nothing", None)
    return model


def frozen():
    return nn.Sequential(nn.Linear(2, 2), Frozen().train(), nn.Sequential(Frozen().train(), nn.ReLU()))


def derived():
    return nn.Sequential(Derived(), nn.BatchNorm1d(2).eval())


def with_own_train():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.BatchNorm1d(2))
    model[1].eval()
    model[1].train = lambda mode=True: model[1]
    return model


MODELS = [plain, frozen, derived, with_own_train]


def flags(model):
    return [module.training for module in model.modules()]


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("training", [True, False])
def test_flags_are_those_of_train_and_come_back(make, training):
    model, reference = make(), make()
    before = flags(model)
    found = Flags(model)
    found.set(training)
    reference.train(training)
    assert flags(model) == flags(reference)
    assert [m.calls for m in model.modules() if isinstance(m, Frozen)] == [
        m.calls for m in reference.modules() if isinstance(m, Frozen)
    ]
    found.restore()
    assert flags(model) == before


@pytest.mark.parametrize("make", MODELS)
def test_flags_that_a_forward_changed_come_back_after_an_error(make):
    model = make()
    before = flags(model)

    def score():
        with without_trace(model, sw.Scoring()):
            assert not any(flags(model))
            model[0].train()
            model[1].train()
            raise RuntimeError("the user's own")

    with pytest.raises(RuntimeError, match="the user's own"):
        score()
    assert flags(model) == before


def test_every_module_is_found_once():
    model = plain()
    assert set(modules_of(model)) == set(model.modules())
    assert len(modules_of(model)) == len(list(model.modules()))
    assert modules_of(model)[0] is model


def test_modules_added_removed_and_swapped_between_steps_are_found():
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU()), nn.Dropout())

    called = []

    class Noting(nn.Sequential):
        def train(self, mode=True):
            called.append(mode)
            return super().train(mode)

    def added():
        model[1].append(nn.BatchNorm1d(2))

    def grown_from_a_leaf():
        model[0].extra = nn.Dropout()

    def swapped():
        model[1] = nn.Sequential(nn.BatchNorm1d(2).eval(), nn.Dropout())

    def removed():
        del model[2]

    def by_a_hook():
        model[0].register_forward_pre_hook(lambda module, _: module.add_module("late", nn.Dropout()))
        model[0](torch.ones(1, 2))

    def past_registration():  # as quantization and adapters do
        model[1]._modules["0"] = nn.Sequential(nn.Dropout())

    def wrapped():
        model[0] = nn.Sequential(model[0], nn.Dropout().eval())

    def another_class():  # as parametrizations and sharding do
        model[1].__class__ = Noting

    def renewed():
        model._modules = type(model._modules)(model._modules)
        model._modules["last"] = nn.Dropout()

    def frozen_between():
        model[1].eval()

    def thawed_between():
        model[1].train()

    changes = (
        lambda: None, added, grown_from_a_leaf, swapped, removed, by_a_hook, past_registration, wrapped,
        another_class, renewed, frozen_between, thawed_between,
    )  # fmt: skip
    for change in changes:
        change()
        before = flags(model)
        with without_trace(model, sw.Scoring()):
            assert not any(flags(model))
        assert flags(model) == before
    assert called


def test_no_model_is_kept_alive():
    model = plain()
    with without_trace(model, sw.Scoring()):
        pass
    copied, alive = copy.deepcopy(model), weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None
    assert len(flags(copied)) == 5
