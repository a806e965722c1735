"""The Hugging Face Trainer: selection in front of it changes what is trained on and nothing else."""

import math

import pytest
import torch
import torch.nn.functional as F
from datasets import IterableDataset
from transformers import BertForSequenceClassification, Trainer

import samplewise as sw
from samplewise.integrations.transformers import (
    SelectiveTrainer,
    make_selective,
)
from tests.integrations.trainer_runs import (
    BATCH,
    N,
    Rows,
    bert,
    built,
    classes,
    collate,
    llama,
    numbers,
    selective,
    sentences,
    sequence_classifier,
    several,
    trained_ids,
    weights,
)

pytestmark = pytest.mark.usefixtures("quick_training")

RECIPES = ["full", "infobatch", "ucb", "loss_sampling", "evolved_sampling", "eswp"]


def order_of(recipe="full", epochs=1):
    """The ids of each epoch of a recipe that needs no losses."""
    selector = sw.Selector(recipe, N, epochs=epochs, batch_size=BATCH, seed=42)
    ids = []
    for epoch in range(epochs):
        selector.set_epoch(epoch)
        ids.extend(selector.sampler("global"))
    return ids


STOCK = {
    "causal": (llama, sentences, {}),
    "causal, ga": (llama, sentences, {"gradient_accumulation_steps": 4}),
    "causal, ga, smoothed": (
        llama,
        sentences,
        {"gradient_accumulation_steps": 4, "label_smoothing_factor": 0.2},
    ),
    "classes": (bert, classes, {}),
    "classes, smoothed": (bert, classes, {"label_smoothing_factor": 0.2}),
    "classes, ga, smoothed": (
        bert,
        classes,
        {"gradient_accumulation_steps": 4, "label_smoothing_factor": 0.1},
    ),
    "regression": (lambda: bert(labels=1), numbers, {}),
    "several labels": (lambda: bert(labels=3, problem_type="multi_label_classification"), several, {}),
}


@pytest.mark.parametrize("case", STOCK, ids=list(STOCK))
def test_full_trains_as_the_trainer_does_on_the_same_batches(case, tmp_path):
    model, data, given = STOCK[case]
    ours = selective(tmp_path, "full", model=model(), data=data(), num_train_epochs=1, **given)
    ours.train()
    stock = built(
        tmp_path,
        model=model(),
        data=data().select(order_of()),
        num_train_epochs=1,
        train_sampling_strategy="sequential",
        **given,
    )
    stock.train()
    assert (
        ours.state.global_step
        == stock.state.global_step
        == math.ceil(math.ceil(N / BATCH) / (given.get("gradient_accumulation_steps", 1)))
    )
    torch.testing.assert_close(weights(ours), weights(stock), rtol=0, atol=1e-6)
    assert not torch.allclose(weights(ours), weights(model()), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "given"),
    [(bert, {}), (bert, {"label_smoothing_factor": 0.2}), (sequence_classifier, {})],
    ids=["BERT", "BERT, smoothed", "Llama"],
)
def test_accumulating_equals_one_large_batch_where_the_model_takes_its_own_mean(model, given, tmp_path):
    # These heads ignore num_items_in_batch, so the stock Trainer's step is 4 times too long here.
    small = selective(
        tmp_path, "full", model=model(), num_train_epochs=2, gradient_accumulation_steps=4, **given
    )
    small.train()
    large = model()
    selector = sw.Selector("full", N, epochs=2, batch_size=4 * BATCH, seed=42)
    data = classes()
    smoothing = given.get("label_smoothing_factor", 0.0)
    for epoch in range(2):
        selector.set_epoch(epoch)
        for ids in torch.tensor(list(selector.sampler("global"))).split(4 * BATCH):
            inputs = collate([data[i] for i in ids.tolist()])
            labels = inputs.pop("labels")
            large.train()
            loss = F.cross_entropy(large(**inputs).logits, labels, label_smoothing=smoothing)
            large.zero_grad()
            loss.backward()
            with torch.no_grad():
                for parameter in large.parameters():
                    if parameter.grad is not None:
                        parameter -= 0.1 * parameter.grad
    torch.testing.assert_close(weights(small), weights(large), rtol=0, atol=1e-6)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_choices_and_the_weights_are_the_plain_loops(recipe, tmp_path):
    ours = selective(tmp_path, recipe, num_train_epochs=4, learning_rate=0.5)
    noted = trained_ids(ours)

    model, data = bert(), classes().remove_columns("text")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)

    plain = []

    def forward(inputs):
        labels = inputs["labels"]
        if torch.is_grad_enabled():  # the training forward, on the rows that are chosen
            plain.append(inputs["ids"].tolist())
        logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
        return sw.Outputs(loss=F.cross_entropy(logits, labels, reduction="none"))

    selector = sw.Selector(recipe, data, forward, model=model, epochs=4, batch_size=BATCH, seed=42)
    model.train()
    for _ in range(4):
        for batch in (loader := selector.loader(collate_fn=collate)):
            optimizer.zero_grad()
            selector.loss(sw.Batch(batch.ids, {**batch.data, "ids": batch.ids})).backward()
            optimizer.step()
        del loader
    assert noted == plain
    assert torch.equal(weights(ours), weights(model))
    if recipe != "full":
        assert sum(map(len, noted)) < 4 * N
    assert ours.selector.ledger.samples_backpropagated == selector.ledger.samples_backpropagated
    assert ours.selector.ledger.scoring_forwards == selector.ledger.scoring_forwards


def test_half_precision_observes_float32_losses(tmp_path):
    trainer = selective(tmp_path, "infobatch", num_train_epochs=1, bf16=True)
    trainer.train()
    assert trainer.selector.score().dtype == torch.float32
    assert len(trainer.selector.score().unique()) > N - 3  # bfloat16 has few values


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_narrowed_step_is_as_long_as_that_of_all_rows(accumulate, tmp_path):
    ours = selective(
        tmp_path,
        Rows(),
        model=llama(),
        data=sentences(),
        num_train_epochs=1,
        gradient_accumulation_steps=accumulate,
    )
    ours.train()
    model, data = llama(), sentences()
    batches = torch.tensor(order_of()).split(BATCH)
    for first in range(0, len(batches), accumulate):
        group = [collate([data[i] for i in ids.tolist()]) for ids in batches[first : first + accumulate]]
        trained = [int((batch["labels"][:, 1:] != -100).sum()) for batch in group]
        loss = 0.0
        for batch, total in zip(group, trained, strict=True):
            rows, factors = ([0, 2], [2.0, 1.0]) if len(batch["labels"]) > 2 else ([0], [1.0])
            kept, weighted = 0, 0.0
            logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
            for row, factor in zip(rows, factors, strict=True):
                for place in range(logits.shape[1] - 1):
                    if (target := int(batch["labels"][row, place + 1])) != -100:
                        weighted = weighted - factor * logits[row, place].log_softmax(-1)[target]
                        kept += 1
            loss = loss + weighted / kept * total / sum(trained)
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.1 * parameter.grad
    torch.testing.assert_close(weights(ours), weights(model), rtol=0, atol=1e-6)


@pytest.mark.parametrize("wrapped", ["datasets", "torch"])
def test_unused_columns_go_and_the_ids_stay(wrapped, tmp_path):
    seen = []

    def noting(rows):
        seen.extend(set(row) for row in rows)
        return collate(rows)

    data = classes()
    if wrapped == "torch":
        data = [data[i] for i in range(N)]
    trainer = Trainer(
        bert(), built(tmp_path, num_train_epochs=1).args, train_dataset=data, data_collator=noting
    )
    noted = trained_ids(make_selective(trainer, "infobatch"))
    assert seen == [{"input_ids", "labels"}] * N
    assert sorted(i for ids in noted for i in ids) == list(range(N))


def test_a_loss_of_the_users_own_is_used_for_any_head(tmp_path):
    class Weighted(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            raise AssertionError("per_sample_loss takes its place")

    def per_sample_loss(outputs, inputs):
        return 3 * F.cross_entropy(outputs.logits, inputs["labels"], reduction="none")

    ours = selective(
        tmp_path, "full", kind=Weighted, settings={"per_sample_loss": per_sample_loss}, num_train_epochs=1
    )
    ours.train()
    triple = selective(tmp_path, "full", num_train_epochs=1, learning_rate=0.3)
    triple.train()
    torch.testing.assert_close(weights(ours), weights(triple), rtol=0, atol=1e-6)


def test_the_mixin_takes_the_trainers_arguments_and_its_own(tmp_path):
    class Mine(SelectiveTrainer, Trainer):
        pass

    trainer = built(
        tmp_path, kind=Mine, extra={"selection": sw.recipes.infobatch(keep=0.75), "selection_seed": 7}
    )
    trainer.train()
    other = selective(tmp_path, sw.recipes.infobatch(keep=0.75), settings={"seed": 7})
    other.train()
    assert torch.equal(weights(trainer), weights(other))
    assert isinstance(other, SelectiveTrainer)
    assert type(other).__name__ == "SelectiveTrainer"


def test_evaluating_neither_selects_nor_counts(tmp_path):
    given = {
        "eval_strategy": "steps",
        "eval_steps": 2,
        "load_best_model_at_end": True,
        "save_strategy": "steps",
        "save_steps": 2,
        "metric_for_best_model": "loss",
    }
    extra = {"eval_dataset": classes(11)}
    quiet = selective(tmp_path / "a", "eswp")
    quiet.train()
    trainer = selective(tmp_path / "b", "eswp", extra=extra, **given)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.selector.ledger.samples_backpropagated == quiet.selector.ledger.samples_backpropagated
    assert trainer.selector.ledger.scoring_forwards == quiet.selector.ledger.scoring_forwards
    assert torch.equal(trainer.selector.score(), quiet.selector.score())
    losses = [row["eval_loss"] for row in trainer.state.log_history if "eval_loss" in row]
    assert trainer.state.best_metric == min(losses)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(losses))
    stock = built(tmp_path / "c", extra=extra)
    assert before == pytest.approx(stock.evaluate()["eval_loss"])
    assert trainer.predict(classes(5)).predictions.shape == (5, 3)


def test_the_ledger_has_the_time_of_every_stage(tmp_path):
    trainer = selective(tmp_path, "eswp")
    trainer.train()
    ledger = trainer.selector.ledger
    assert all(seconds > 0 for seconds in ledger.seconds.values())
    assert ledger.baseline == "estimated"
    assert 0 < ledger.cost < ledger.ordinary_cost


@pytest.mark.slow  # tracing takes 10 s
def test_torch_compile_runs_the_same_training(tmp_path):
    plain = selective(tmp_path, "loss_sampling", num_train_epochs=1)
    plain.train()
    compiled = selective(
        tmp_path, "loss_sampling", num_train_epochs=1, torch_compile=True, torch_compile_backend="eager"
    )
    compiled.train()
    torch.testing.assert_close(weights(compiled), weights(plain), rtol=0, atol=1e-6)


class Sequential(Trainer):
    def _get_train_sampler(self, train_dataset=None):
        return torch.utils.data.SequentialSampler(self.train_dataset)


class OwnLoss(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss = super().compute_loss(model, inputs)
        return 2 * loss


REFUSED = {
    "no data": ({"extra": {"train_dataset": None}}, "it has no train_dataset"),
    "a stream": (
        {"extra": {"train_dataset": IterableDataset.from_generator(lambda: iter(()))}, "max_steps": 3},
        "its train_dataset must be a map-style data set",
    ),
    "lengths": (
        {"train_sampling_strategy": "group_by_length"},
        "train_sampling_strategy='group_by_length' sets its own",
    ),
    "batch size": ({"auto_find_batch_size": True}, "auto_find_batch_size changes the batch size"),
    "split": ({"accelerator_config": {"split_batches": True}}, "split_batches changes the batch size"),
    "dispatch": (
        {"accelerator_config": {"dispatch_batches": True, "split_batches": False}},
        "dispatch_batches only one process",
    ),
    "own sampler": ({"kind": Sequential}, "a SequentialSampler. Selection would replace"),
    "own loss": (
        {"kind": OwnLoss},
        "OwnLoss.compute_loss returns one loss for the whole batch. Set per_sample",
    ),
    "loss func": (
        {"extra": {"compute_loss_func": lambda *a, **k: 0}},
        "compute_loss_func returns one loss for the whole",
    ),
    "epochs": ({"settings": {"epochs": 3}}, "epochs needs max_steps"),
}


@pytest.mark.parametrize("case", REFUSED, ids=list(REFUSED))
def test_what_selection_cannot_follow_is_refused_by_name(case, tmp_path):
    given, why = REFUSED[case]
    given = dict(given)
    settings, kind = given.pop("settings", {}), given.pop("kind", Trainer)
    extra = {"train_dataset": classes(), **given.pop("extra", {})}
    trainer = kind(bert(), built(tmp_path, **given).args, data_collator=collate, **extra)
    with pytest.raises(ValueError, match=why):
        make_selective(trainer, "eswp", **settings)
    assert type(trainer) is kind


def test_losses_that_are_not_the_models_own_are_refused(tmp_path):
    class WeightedForSequenceClassification(BertForSequenceClassification):
        def forward(self, input_ids, attention_mask=None, labels=None, **kwargs):
            outputs = super().forward(input_ids, attention_mask=attention_mask, labels=labels, **kwargs)
            if outputs.loss is not None:
                outputs.loss = outputs.loss * 1.5
            return outputs

    model = WeightedForSequenceClassification(bert().config)
    trainer = selective(tmp_path, "infobatch", model=model)
    with pytest.raises(
        ValueError, match=r"the loss of WeightedFor.* on a batch must be the mean of its per-sample losses"
    ):
        trainer.train()


def test_what_is_no_trainer_or_selects_already_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"must be an instance of transformers\.Trainer, got Linear"):
        make_selective(torch.nn.Linear(1, 1), "eswp")
    trainer = selective(tmp_path, "eswp")
    with pytest.raises(ValueError, match="this trainer already selects with eswp"):
        make_selective(trainer, "ucb")


def test_a_loader_put_in_the_place_of_ours_is_noticed(tmp_path):
    class Other(SelectiveTrainer, Trainer):
        def get_train_dataloader(self):
            return Trainer.get_train_dataloader(self)

    trainer = built(tmp_path, kind=Other, extra={"selection": "eswp"})
    with pytest.raises(RuntimeError, match="a batch must have ids for selection"):
        trainer.train()


def test_a_loss_put_in_the_place_of_ours_is_noticed(tmp_path):
    class Other(SelectiveTrainer, Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            logits = model(input_ids=inputs["input_ids"]).logits
            return F.cross_entropy(logits, inputs["labels"])

    trainer = built(tmp_path, kind=Other, extra={"selection": "eswp"})
    with pytest.raises(RuntimeError, match=r"must call super\(\).compute_loss for selection, but does not"):
        trainer.train()
