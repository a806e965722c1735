"""The Trainer: models whose own loss is not the mean of what the adapter knows, and older names."""

import pytest
import torch
import torch.nn.functional as F
from transformers import BertForSequenceClassification, GPT2Config, GPT2LMHeadModel

import samplewise as sw
from samplewise.integrations.transformers.refusals import Held
from tests.integrations.trainer_runs import (
    BATCH,
    PAD,
    N,
    bert,
    built,
    classes,
    collate,
    selective,
    sentences,
    weights,
)


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
    with pytest.raises(ValueError, match="adds a term or weights samples"):
        trainer.train()


def order_of():
    selector = sw.Selector("full", N, epochs=1, batch_size=BATCH, seed=42)
    selector.set_epoch(0)
    return list(selector.sampler("global"))


def ignoring(*batches, rows=2):
    """Classes, with the label -100 in the first rows of some batches of the first epoch."""
    data, order = classes(), order_of()
    labels = list(data["labels"])
    for batch in batches:
        for i in order[batch * BATCH : batch * BATCH + rows]:
            labels[i] = -100
    return data.remove_columns("labels").add_column("labels", labels)


@pytest.mark.parametrize("batches", [(2,), (0, 3), (6,)], ids=["later", "at once", "in the last"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_rows_without_a_label_count_as_little_as_in_the_trainer(smoothing, batches, tmp_path):
    given = {"label_smoothing_factor": smoothing, "num_train_epochs": 1}
    data = ignoring(*batches, rows=1)
    ours = selective(tmp_path, "full", data=data, **given)
    ours.train()
    stock = built(tmp_path, data=data.select(order_of()), train_sampling_strategy="sequential", **given)
    stock.train()
    torch.testing.assert_close(weights(ours), weights(stock), rtol=0, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("rows", [1, 3, BATCH], ids=["one", "three", "a whole micro-batch"])
def test_accumulating_counts_rows_with_a_label(rows, smoothing, tmp_path):
    data = ignoring(1, 2, rows=rows)
    ours = selective(
        tmp_path,
        "full",
        data=data,
        num_train_epochs=1,
        gradient_accumulation_steps=3,
        label_smoothing_factor=smoothing,
    )
    ours.train()
    model = bert()
    for ids in torch.tensor(order_of()).split(3 * BATCH):
        inputs = collate([data[i] for i in ids.tolist()])
        labels = inputs.pop("labels")
        loss = F.cross_entropy(model(**inputs).logits, labels, label_smoothing=smoothing)
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter -= 0.1 * parameter.grad
    torch.testing.assert_close(weights(ours), weights(model), rtol=0, atol=1e-6)


def test_a_batch_without_any_label_is_no_step(tmp_path):
    data = classes()
    data = data.remove_columns("labels").add_column("labels", [-100] * N)
    trainer = selective(tmp_path, "full", data=data, num_train_epochs=1)
    trainer.train()
    assert torch.equal(weights(trainer), weights(bert()))


def test_weights_of_classes_are_refused_in_the_first_batch_that_shows_them(tmp_path):
    data, order = classes(), order_of()
    labels = [2] * N
    for at, i in enumerate(order):
        labels[i] = at % 2 if at < 2 * BATCH else at % 3  # the first two batches have equal weights
    data = data.remove_columns("labels").add_column("labels", labels)
    model = WeighingForSequenceClassification(bert().config)
    trainer = selective(tmp_path, "full", model=model, data=data)
    with pytest.raises(ValueError, match="adds a term or weights samples"):
        trainer.train()
    assert trainer.state.global_step == 2


def test_the_losses_of_ones_own_may_have_their_own_divisor(tmp_path):
    of_class = torch.tensor([1.0, 1.0, 10.0])

    def per_sample_loss(outputs, inputs):
        targets = inputs["labels"]
        losses = F.cross_entropy(outputs.logits, targets, weight=of_class, reduction="none")
        return sw.Outputs(losses, normalizer=of_class[targets])

    def model():
        torch.manual_seed(0)
        return WeighingForSequenceClassification(bert().config)

    given, settings = {"num_train_epochs": 1}, {"per_sample_loss": per_sample_loss}
    ours = selective(tmp_path, "full", model=model(), settings=settings, **given)
    ours.train()
    data = classes().select(order_of())
    stock = built(tmp_path, model=model(), data=data, train_sampling_strategy="sequential", **given)
    stock.train()
    torch.testing.assert_close(weights(ours), weights(stock), rtol=0, atol=1e-6)


class GrowingGPT2LMHeadModel(GPT2LMHeadModel):
    """Adds a term to its loss from the third look on."""

    asked = 0

    def forward(self, input_ids, attention_mask=None, labels=None, **kwargs):
        outputs = super().forward(input_ids, attention_mask=attention_mask, labels=labels, **kwargs)
        if labels is not None:
            self.asked += 1
            outputs.loss = outputs.loss + (self.asked > 2)
        return outputs


def test_a_term_that_a_language_model_adds_later_is_found(tmp_path):
    model = GrowingGPT2LMHeadModel(gpt2().config)
    trainer = selective(tmp_path, "full", model=model, data=sentences())
    with pytest.raises(ValueError, match="adds a term or weights samples"):
        trainer.train()
    assert trainer.state.global_step == 3  # looked at are the first, second and fourth batch


def test_an_accelerator_keeps_the_first_difference_until_it_is_asked():
    class There(torch.Tensor):
        is_cpu = False

    def there(number):
        return torch.tensor(number).as_subclass(There)

    held = Held(gpt2())
    for own, ours in ((1.0, 1.0), (torch.nan, torch.nan), (2.0, 2.5), (3.0, 3.0), (4.0, 4.5)):
        held.see(there(own), there(ours))
    with pytest.raises(
        ValueError, match=r"the loss of GPT2LMHeadModel on a batch must be .* 2\.5, but is 2: the"
    ):
        held.refuse()
    with pytest.raises(ValueError, match="but is 1: the model"):
        Held(gpt2()).see(there(1.0), there(1.1))


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
