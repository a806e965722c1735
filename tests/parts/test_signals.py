"""Signals as formulas on numbers, and what a policy is told to return."""

import math

import pytest
import torch

from samplewise import Outputs, signals
from samplewise.rng import generator

logits = torch.randn(20, 5, generator=generator("logits")) * 3
targets = torch.randint(5, (20,), generator=generator("targets"))


def softmax(row):
    exps = [math.exp(z - max(row)) for z in row]
    return [e / sum(exps) for e in exps]


def test_each_signal_is_its_formula():
    for row, target, correct, sure, hit in zip(
        logits.tolist(),
        targets.tolist(),
        signals.correct(logits, targets).tolist(),
        signals.confidence(logits).tolist(),
        signals.target_probability(logits, targets).tolist(),
        strict=True,
    ):
        p = softmax(row)
        assert correct == (row.index(max(row)) == target)
        assert sure == pytest.approx(max(p), rel=1e-5)
        assert hit == pytest.approx(p[target], rel=1e-5)
    losses = torch.tensor([1.0, 2.0])
    assert signals.loss(losses) is losses


def test_confidence_is_over_classes_and_not_over_the_batch():
    alone = signals.confidence(logits[3:4])
    assert torch.allclose(alone, signals.confidence(logits)[3:4])


def test_probabilities_do_not_change_with_a_constant_added_to_all_logits():
    assert torch.allclose(signals.confidence(logits), signals.confidence(logits + 7), atol=1e-6)


def test_what_a_signal_reads():
    assert signals.needs(signals.loss) == ("loss",)
    assert signals.needs(signals.correct) == ("logits", "targets")


def test_measured_values_are_detached_and_at_least_float32():
    loss = torch.tensor([1.0, 2.0], dtype=torch.bfloat16, requires_grad=True)
    outputs = Outputs(loss, logits=torch.ones(2, 3, dtype=torch.float16), targets=torch.tensor([0, 1]))
    values = signals.measure((signals.loss, signals.correct, signals.confidence), outputs, "mine")
    assert values.keys() == {"loss", "correct", "confidence"}
    assert values["loss"].dtype == values["confidence"].dtype == torch.float32
    assert values["correct"].dtype == torch.bool
    assert not any(value.requires_grad for value in values.values())
    assert torch.is_grad_enabled()


def test_what_is_missing_is_named():
    with pytest.raises(
        ValueError, match=r"mine needs logits: return sw.Outputs\(loss=\.\.\., logits=\.\.\.\)"
    ):
        signals.measure((signals.confidence,), Outputs(torch.ones(2)), "mine")


def test_a_signal_of_ones_own_may_read_the_head():
    def norm_of_head(features, weight, bias):
        return features @ weight.sum(0) + (0 if bias is None else bias.sum())

    outputs = Outputs(torch.ones(2), features=torch.ones(2, 4), head=(torch.ones(3, 4), None))
    assert signals.measure((norm_of_head,), outputs, "mine")["norm_of_head"].tolist() == [12.0, 12.0]
    with pytest.raises(ValueError, match="mine needs head"):
        signals.measure((norm_of_head,), Outputs(torch.ones(2), features=torch.ones(2, 4)), "mine")
