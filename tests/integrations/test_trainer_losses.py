"""The Trainer: models whose own loss is not the mean of what the adapter knows, and older names."""

import pytest
import torch
import torch.nn.functional as F
from transformers import BertForSequenceClassification, GPT2Config, GPT2LMHeadModel

import samplewise as sw
from tests.integrations.trainer_runs import BATCH, PAD, bert, built, selective, sentences, weights


class WeighingForSequenceClassification(BertForSequenceClassification):
    """Weights its classes."""

    def forward(self, input_ids, attention_mask=None, labels=None, **kwargs):
        outputs = super().forward(input_ids, attention_mask=attention_mask, labels=labels, **kwargs)
        if labels is not None:
            outputs.loss = F.cross_entropy(outputs.logits, labels, weight=torch.tensor([1.0, 1.0, 10.0]))
        return outputs


@pytest.mark.parametrize("spread", [0.02, 0.5], ids=["fresh", "trained"])
def test_weights_of_classes_are_refused_also_in_a_model_that_gives_all_classes_the_same_loss(
    spread, tmp_path
):
    model = WeighingForSequenceClassification(bert(initializer_range=spread).config)
    trainer = selective(tmp_path, "infobatch", model=model)
    with pytest.raises(ValueError, match="it adds or weights something"):
        trainer.train()


def gpt2():
    torch.manual_seed(0)
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 2, "vocab_size": 30, "n_positions": 12}
    drop = dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.0)
    return GPT2LMHeadModel(GPT2Config(**sizes, **drop, pad_token_id=PAD, bos_token_id=1, eos_token_id=1))


@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_language_model_with_an_older_name_trains_as_the_trainer_does(accumulate, tmp_path):
    data, given = sentences(), {"gradient_accumulation_steps": accumulate, "num_train_epochs": 1}
    ours = selective(tmp_path, "full", model=gpt2(), data=data, **given)
    ours.train()
    selector = sw.Selector("full", len(data), epochs=1, batch_size=BATCH, seed=42)
    selector.set_epoch(0)
    ordered = data.select(list(selector.sampler("global")))
    stock = built(tmp_path, model=gpt2(), data=ordered, train_sampling_strategy="sequential", **given)
    stock.train()
    torch.testing.assert_close(weights(ours), weights(stock), rtol=0, atol=1e-6)
    assert not torch.allclose(weights(ours), weights(gpt2()), rtol=0, atol=1e-4)
