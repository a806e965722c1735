"""One fine-tuning of a text encoder by the Hugging Face Trainer, with the adapter or without."""

import tempfile
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from datasets import Dataset
from glue_turns import Row, Turns
from sklearn.metrics import accuracy_score, matthews_corrcoef
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    DataCollatorWithPadding,
    EvalPrediction,
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)
from transformers.utils import logging

import samplewise as sw
from samplewise.integrations.transformers import make_selective

BATCH, LENGTH, RATE, WARM_UP, DECAY = 32, 32, 5e-5, 0.06, 0.01
METRICS = {"cola": matthews_corrcoef, "sst2": accuracy_score}
STOCK = "stock"
"""Used instead of a method: the unchanged Trainer, with the batches that `full` has in its first epoch."""
NOTED = 20
"""The number of steps whose loss is stored, so that two trainings can be compared."""


@dataclass(frozen=True)
class Run:
    """One training. `folder` contains TASK-train.parquet and TASK-dev.parquet with text_a and label.

    `slices` is the number of turns in an epoch. `tiny` replaces `model` by a very small encoder. With it
    almost all time is that of the Trainer and the adapter.
    """

    task: str
    method: str
    seed: int
    folder: Path
    model: str
    rows: int
    epochs: int
    slices: int
    threads: int
    evaluate: bool = True
    tiny: bool = False


class Noting(Trainer):
    """A Trainer that stores the losses of its first steps."""

    losses: tuple[float, ...] = ()

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        if not self.losses:
            # Torch's own loader draws from the global generator, and the selector's loader does not. Without
            # this line the same batches would have other dropout masks.
            set_seed(self.args.seed)
        loss = super().training_step(*args, **kwargs)
        if len(self.losses) < NOTED:
            self.losses += (loss.item(),)
        return loss


def train(run: Run, pipe: Connection) -> None:
    """Train in turns and send the row at the end."""
    torch.set_num_threads(run.threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        trainer = built(run, folder)
        turns = Turns(pipe, trainer, run.slices)
        trainer.add_callback(turns)
        trainer.train()
    pipe.send(result(run, trainer, turns))


def built(run: Run, folder: str) -> Noting:
    """The Trainer of a run, with model, data and method."""
    tokenizer = AutoTokenizer.from_pretrained(run.model)
    train_set = tokenised(run, "train", tokenizer, run.rows)
    if run.method == STOCK:
        plan = sw.Selector("full", len(train_set), epochs=run.epochs, batch_size=BATCH, seed=run.seed)
        train_set = train_set.select(list(plan.sampler("global"))).flatten_indices()
    set_seed(run.seed)  # for the head's first weights; the Trainer sets the seed again before it trains
    trainer = Noting(
        model=model_of(run),
        args=TrainingArguments(
            output_dir=folder,
            num_train_epochs=run.epochs,
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=2 * BATCH,
            learning_rate=RATE,
            warmup_steps=WARM_UP,
            lr_scheduler_type="linear",
            weight_decay=DECAY,
            eval_strategy="epoch" if run.evaluate else "no",
            save_strategy="no",
            logging_strategy="no",
            train_sampling_strategy="sequential" if run.method == STOCK else "random",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
            seed=run.seed,
        ),
        train_dataset=train_set,
        eval_dataset=tokenised(run, "dev", tokenizer) if run.evaluate else None,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=lambda shown: {"metric": metric(run.task, shown)},
    )
    trainer.remove_callback(PrinterCallback)
    return trainer if run.method == STOCK else make_selective(trainer, run.method)


def tokenised(run: Run, split: str, tokenizer: Any, rows: int | None = None) -> Dataset:
    """A split as token ids, at most LENGTH of them. `rows` of it are drawn, the same for every seed."""
    table = pq.read_table(run.folder / f"{run.task}-{split}.parquet", columns=["text_a", "label"])
    if rows is not None:
        if rows > len(table):
            raise ValueError(
                f"--rows must be at most the {len(table)} training rows of {run.task}, got {rows}."
            )
        table = table.take(np.random.default_rng(0).permutation(len(table))[:rows])
    columns = tokenizer(table["text_a"].to_pylist(), truncation=True, max_length=LENGTH)
    labels = table["label"].to_numpy().astype(np.int64)
    return Dataset.from_dict({**columns, "labels": labels})


def model_of(run: Run) -> PreTrainedModel:
    """The encoder with a fresh head of two classes."""
    if run.tiny:
        sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
        return BertForSequenceClassification(BertConfig(**sizes))
    return AutoModelForSequenceClassification.from_pretrained(run.model, num_labels=2)


def metric(task: str, shown: EvalPrediction) -> float:
    """Matthews correlation or accuracy, in percent."""
    return 100 * float(METRICS[task](shown.label_ids, shown.predictions.argmax(-1)))


def result(run: Run, trainer: Noting, turns: Turns) -> Row:
    """The row of a finished training."""
    row: Row = {"task": run.task, "method": run.method, "seed": run.seed, "rows": run.rows}
    row |= {"steps": len(turns.steps), "seconds": turns.wall, "cpu_seconds": turns.cpu}
    row |= {"losses": list(trainer.losses)}
    if run.method != STOCK:
        ledger = trainer.selector.ledger
        row |= {
            "samples_backpropagated": ledger.samples_backpropagated,
            "training_forwards": ledger.training_forwards,
            "scoring_forwards": ledger.scoring_forwards,
            "cost": ledger.cost,
            "cost_share": ledger.cost_share,
            "policy": repr(trainer.selector.policy),
        }
    if run.evaluate:
        metrics = [point["metric"] for point in turns.curve]
        return row | {"metric": metrics[-1], "best": max(metrics), "curve": turns.curve}
    return row | {"step_seconds": [list(step) for step in turns.steps]}
