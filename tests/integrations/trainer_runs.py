"""Small Trainers, their models and data, and a record of what they trained on."""

import functools

import torch
from datasets import Dataset
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.utils import logging

from samplewise.integrations.transformers import make_selective

logging.disable_progress_bar()

N, BATCH = 26, 4
SIZES = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
PAD = 0


def tokens(n=N, seed=0):
    """Sequences of 3 to 8 tokens."""
    rng = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 9, (n,), generator=rng).tolist()
    return [torch.randint(1, 30, (length,), generator=rng).tolist() for length in lengths]


def classes(n=N):
    return Dataset.from_dict({"input_ids": tokens(n), "labels": [i % 3 for i in range(n)], "text": ["x"] * n})


def numbers(n=N):
    return Dataset.from_dict({"input_ids": tokens(n), "labels": [i / n for i in range(n)]})


def several(n=N):
    return Dataset.from_dict(
        {"input_ids": tokens(n), "labels": [[i % 2.0, 1.0, i % 3 / 2] for i in range(n)]}
    )


def sentences(n=N):
    """Every first token, and now and then the last, is not trained on."""
    rows = tokens(n)
    labels = [[-100, *row[1:-1], -100 if i % 3 else row[-1]] for i, row in enumerate(rows)]
    return Dataset.from_dict({"input_ids": rows, "labels": labels})


def collate(rows):
    """Pad, also the labels where they are tokens."""
    ids = [torch.tensor(row["input_ids"]) for row in rows]
    labels = [torch.tensor(row["labels"]) for row in rows]
    as_tokens = labels[0].ndim == 1 and len(labels[0]) == len(ids[0]) and not labels[0].is_floating_point()
    return {
        "input_ids": pad_sequence(ids, batch_first=True, padding_value=PAD),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
        "labels": pad_sequence(labels, True, -100) if as_tokens else torch.stack(labels),
    }


def bert(labels=3, dropout=0.0, seed=0, **config):
    torch.manual_seed(seed)
    drop = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    sizes = {"vocab_size": 30, "max_position_embeddings": 12, "num_labels": labels}
    return BertForSequenceClassification(BertConfig(**SIZES, **sizes, **drop, **config))


def llama(kind=LlamaForCausalLM, seed=0, **config):
    torch.manual_seed(seed)
    sizes = {"vocab_size": 30, "num_key_value_heads": 2, "max_position_embeddings": 12, "pad_token_id": PAD}
    return kind(LlamaConfig(**SIZES, **sizes, **config))


def arguments(folder, **given):
    """Plain SGD without clipping, so that weights tell gradients."""
    usual = {
        "output_dir": str(folder),
        "num_train_epochs": 3,
        "per_device_train_batch_size": BATCH,
        "learning_rate": 0.1,
        "optim": "sgd",
        "max_grad_norm": 0.0,
        "lr_scheduler_type": "constant",
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "dataloader_pin_memory": False,
    }
    return TrainingArguments(**usual | given)


def built(folder, model=None, data=None, kind=Trainer, extra=None, **given):
    return kind(
        model=bert() if model is None else model,
        args=arguments(folder, **given),
        train_dataset=classes() if data is None else data,
        data_collator=collate,
        **extra or {},
    )


def selective(folder, recipe, *, settings=None, **given):
    return make_selective(built(folder, **given), recipe, **settings or {})


def sequence_classifier(**config):
    return llama(LlamaForSequenceClassification, num_labels=3, **config)


def weights(trainer_or_model):
    model = trainer_or_model.model if isinstance(trainer_or_model, Trainer) else trainer_or_model
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def chosen_by(selector):
    """The ids of every batch after narrowing, noted from now on."""
    noted, narrow = [], selector.narrow

    @functools.wraps(narrow)
    def noting(batch):
        kept = narrow(batch)
        noted.append(kept.ids.tolist())
        return kept

    selector.narrow = noting
    return noted


def trained_ids(trainer, **how):
    """Train, and the ids of every micro-batch that was trained on."""
    noted, step = {}, trainer.selection.loss

    def noting(*args, **kwargs):
        if trainer.selector not in noted:
            noted[trainer.selector] = chosen_by(trainer.selector)
        return step(*args, **kwargs)

    trainer.selection.loss = noting
    trainer.train(**how)
    return [ids for part in noted.values() for ids in part]


class SaveAt(TrainerCallback):
    """Writes a checkpoint after each of some steps."""

    def __init__(self, *steps):
        self.steps = steps

    def on_step_end(self, args, state, control, **kwargs):
        control.should_save = state.global_step in self.steps


class Plans:
    """A method of one's own whose epochs have the lengths given: the first ids."""

    level, source = "epoch", "training"

    def __init__(self, *lengths):
        self.lengths = lengths

    def observe(self, ids, outputs, source):
        pass

    def plan(self, epoch):
        return torch.arange(self.lengths[epoch])

    def choose(self, ids):
        raise AssertionError("not asked at epoch level")

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass

    def __repr__(self):
        return f"Plans{self.lengths}"


class Rows(Plans):
    """A method of one's own that keeps the first and the third row of every batch, with weights 2 and 1."""

    level = "batch"

    def __init__(self):
        super().__init__(N, N, N, N)

    def choose(self, ids):
        return (torch.tensor([0, 2]), torch.tensor([2.0, 1.0])) if len(ids) > 2 else (torch.arange(1), None)
