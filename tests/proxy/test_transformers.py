"""Small random BERT and ViT of transformers: leading heads and inner channels, the same residual stream."""

import copy

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, ViTConfig, ViTForImageClassification

from samplewise.proxy import slim

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}


def bert():
    torch.manual_seed(0)
    config = BertConfig(vocab_size=30, max_position_embeddings=8, num_labels=3, hidden_dropout_prob=0.0,
                        attention_probs_dropout_prob=0.0, **SIZES)  # fmt: skip
    ids = torch.randint(0, 30, (3, 6))
    seen = torch.ones_like(ids)
    seen[0, 3:] = 0
    return BertForSequenceClassification(config), {"input_ids": ids, "attention_mask": seen}


def vit():
    torch.manual_seed(0)
    config = ViTConfig(image_size=8, patch_size=4, num_labels=3, **SIZES)
    return ViTForImageClassification(config), {"pixel_values": torch.randn(3, 3, 8, 8)}


def smaller(model, example):
    """The same model with half the heads and inner channels, its weights leading slices."""
    config = copy.deepcopy(model.config)
    config.intermediate_size //= 2
    small = type(model)(config)
    for module in small.modules():
        for q, k, v, out in (("query", "key", "value", None), ("q_proj", "k_proj", "v_proj", "o_proj")):
            if hasattr(module, q):
                for name in (q, k, v):
                    setattr(module, name, nn.Linear(16, 8))
                if out:
                    setattr(module, out, nn.Linear(8, 16))
    for name, module in small.named_modules():
        if name.endswith("attention.output"):
            module.dense = nn.Linear(8, 16)
    with torch.no_grad():
        for (_, mine), (_, other) in zip(small.named_parameters(), model.named_parameters(), strict=True):
            mine.copy_(other[tuple(slice(0, n) for n in mine.shape)])
    return small


@pytest.mark.parametrize("make", [bert, vit])
@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
def test_outputs_and_gradients_are_those_of_a_smaller_model(make, train):
    model, example = make()
    model.double()
    example = {k: v.double() if v.is_floating_point() else v for k, v in example.items()}
    small = smaller(model, example).double()
    plain = copy.deepcopy(model)
    view = slim(model, width=0.5, head="classifier", example=example)
    for net in (model, small, plain):
        net.train(train)
    assert torch.equal(model(**example).logits, plain(**example).logits)
    outs = [run(**example).logits for run in (view, small)]
    torch.testing.assert_close(*outs, atol=1e-12, rtol=1e-9)
    for out in outs:
        out.square().sum().backward()
    for (name, p), other in zip(model.named_parameters(), small.parameters(), strict=True):
        found = p.grad[tuple(slice(0, n) for n in other.shape)]
        torch.testing.assert_close(
            found, other.grad, atol=1e-12, rtol=1e-9, msg=lambda m, n=name: f"{n}: {m}"
        )
        assert torch.count_nonzero(p.grad) == torch.count_nonzero(found)


@pytest.mark.parametrize("make", [bert, vit])
def test_width_1_is_the_plain_model_bit_for_bit(make):
    model, example = make()
    view = slim(model, width=1, head="classifier", example=example)
    model.eval()
    assert torch.equal(view(**example).logits, model(**example).logits)
    assert not list(view.own_parameters())


def test_the_share_of_bert_is_the_count_by_hand():
    model, example = bert()
    view = slim(model, width=0.5, head="classifier", example=example)

    def count(heads, inner):
        d, size, t = 16, 4, 6
        block = 4 * d * heads * size * t + 2 * t * t * heads * size + 2 * d * inner * t
        return 2 * block + d * d + 3 * d

    assert view.flops_share == count(2, 12) / count(4, 24)
    assert view.head()[0].shape == (3, 16)
