"""One fine-tuning: one method with one seed, by the Hugging Face Trainer with samplewise's integration."""

import tempfile
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.utils.data import Dataset
from transformers import (
    DataCollatorWithPadding,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from samplewise.bench import machine, optim, rngstate
from samplewise.bench.best import BestEpoch
from samplewise.bench.cheap import gated, scoring_for
from samplewise.bench.optim import LrShape
from samplewise.bench.recorded import epoch_row, finished_row
from samplewise.bench.settings import Settings
from samplewise.bench.text.encoder import Encoder, quiet
from samplewise.bench.text.metrics import results
from samplewise.bench.text.task import TextTask, metrics_of, refuse_method
from samplewise.integrations.transformers import make_selective
from samplewise.selector import Selector

__all__ = ["TextRun"]

_TESTED = 128
"""Rows of a batch in a test."""


class Rows(Dataset[dict[str, Any]]):
    """Token ids and labels as a map-style data set. It carries class numbers as `targets`."""

    def __init__(self, encoder: Encoder, texts: Any, labels: Tensor, classes: int) -> None:
        self.encoder, self.texts, self.labels = encoder, texts, labels.tolist()
        if classes:
            self.targets = labels

    @cached_property
    def tokens(self) -> list[dict[str, list[int]]]:
        """What the tokenizer makes of every row."""
        return self.encoder.tokens(self.texts)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.tokens[index] | {"labels": self.labels[index]}


class Padding:
    """Collates rows: all are padded to the longest one of the batch."""

    def __init__(self, tokenizer: Any) -> None:
        self.pad = DataCollatorWithPadding(tokenizer)

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        return dict(self.pad(rows))


class FineTuner(Trainer):
    """A Trainer with an optimizer and a schedule of the command."""

    run: "TextRun"

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW as the Trainer makes it, without weight decay of biases and norms; or SGD of the command."""
        s = self.run.task.settings
        if s.optimizer == "sgd" and self.optimizer is None:
            self.optimizer = optim.optimizer("sgd", self.run.model, s.lr or 0.0, s.weight_decay, s.momentum)
        made: torch.optim.Optimizer = super().create_optimizer(model)
        return made

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> LRScheduler:
        """The schedule of the settings, over the steps of ordinary training."""
        shape: LrShape = self.run.task.settings.lr_shape()
        whole = max(1, num_training_steps)
        mine: Any = optimizer or self.optimizer
        made = LambdaLR(mine, lambda step: shape.at(min(1.0, step / whole)))
        self.lr_scheduler, self._created_lr_scheduler = made, True
        return made


class _Ends(TrainerCallback):
    """Tests the model after an epoch, and keeps the clock, which stops for that."""

    def __init__(
        self,
        run: "TextRun",
        last: int | None,
        on_step: Callable[[float], None],
        on_epoch: Callable[[dict[str, Any]], None],
    ) -> None:
        self.run, self.last, self.on_step, self.on_epoch = run, last, on_step, on_epoch
        self.begun = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        if self.run.task.meter is not None:
            self.run.selector.ledger.measure_energy(self.run.task.meter)
        self.begun = machine.clock(self.run.device)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.on_step(self.run.selector.progress)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        run, settings = self.run, self.run.task.settings
        run.cpu += machine.clock(run.device) - self.begun
        run.done += 1
        if self.last is not None:
            control.should_training_stop = run.done >= self.last
        elif not run.done % settings.test_every or run.done == settings.epochs:
            run.curve.append(run.record(run.done))
            self.on_epoch(run.curve[-1])
        self.begun = machine.clock(run.device)


class TextRun:
    """A fine-tuning that can be done: model, Trainer and selector.

    Args:
        task: what to do.
        model: to use in place of a fresh one.

    Raises:
        ValueError: if the Trainer or the method cannot be used.
    """

    def __init__(self, task: TextTask, model: Any = None) -> None:
        self.task, s, data = task, task.settings, task.data
        refuse_method(task.method, task.policy, data)
        self.device = torch.device(s.device or "cpu")
        self.model = task.encoder.model(data.classes, task.seed) if model is None else model
        self.collate = Padding(task.encoder.tokenizer)
        self.rows = Rows(task.encoder, data.train_x, data.train_y, data.classes)
        self._tested: dict[str, Rows] = {}
        with tempfile.TemporaryDirectory() as folder, quiet():  # nothing is written: no saves and no logs
            self.trainer = FineTuner(
                model=self.model,
                args=_arguments(s, task.seed, folder),
                train_dataset=self.rows,
                data_collator=self.collate,
            )
        self.trainer.run = self
        for callback in (PrinterCallback, ProgressCallback):
            self.trainer.remove_callback(callback)
        self.trainer = make_selective(
            self.trainer,
            task.policy,
            seed=task.seed,
            scoring=scoring_for(task.policy, s.scoring),
            gate=s.gate and gated(task.policy),
            loggers=task.loggers,
        )
        self.cpu, self.done = 0.0, 0
        self.curve: list[dict[str, Any]] = []
        chosen_by = task.best_by or metrics_of(data)[0]
        self.best = None if data.validation_y is None else BestEpoch(chosen_by)

    @property
    def selector(self) -> Selector:
        """The selector of the training. `train` makes a new one."""
        found: Selector = self.trainer.selector  # type: ignore[attr-defined]  # make_selective mixes it in
        return found

    def train(
        self,
        on_step: Callable[[float], None] = lambda progress: None,
        on_epoch: Callable[[dict[str, Any]], None] = lambda row: None,
    ) -> "TextRun":
        """Train from the first epoch to the last.

        Args:
            on_step: called with the finished share of the run.
            on_epoch: called with the row of each tested epoch.
        """
        return self._train(_Ends(self, None, on_step, on_epoch))

    def score(self, on_step: Callable[[float], None] = lambda progress: None) -> "TextRun":
        """Train on all samples, with the schedule of the whole run, until the last score is final.

        The model is not tested. The policy must be that of a scoring run.
        """
        last, epochs = max(self.selector.final.values()), self.task.settings.epochs
        if last:
            self._train(_Ends(self, last, lambda done: on_step(done * epochs / last), lambda row: None))
        if self.selector.pass_due(last):
            begun = machine.clock(self.device)
            self.selector.set_epoch(last)
            self.cpu += machine.clock(self.device) - begun
        return self

    def _train(self, ends: _Ends) -> "TextRun":
        self.trainer.add_callback(ends)
        rngstate.seed_all(self.task.seed)
        with quiet():
            self.trainer.train()
        return self

    def first_rows(self, size: int) -> dict[str, Tensor]:
        """The first rows of the training split as a batch, on the device of the run."""
        return self._batch(self.rows, range(min(size, len(self.rows))))

    def _batch(self, rows: Rows, which: Iterable[int]) -> dict[str, Tensor]:
        made = self.collate([rows[i] for i in which])
        return {name: value.to(self.device) for name, value in made.items()}

    def logits(self, batch: Any) -> Float[Tensor, "b c"]:
        """The logits of a batch, in float32."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.task.settings.amp):
            found: Tensor = self.model(
                **{name: value for name, value in batch.items() if name != "labels"}
            ).logits
        return found.float()

    def evaluate(self, split: str = "test") -> dict[str, float]:
        """Test the model on a split. See `metrics.results`."""
        if split not in self._tested:
            x, y = self.task.data.split(split)
            self._tested[split] = Rows(self.task.encoder, x, y, self.task.data.classes)
        rows, training = self._tested[split], self.model.training
        # Texts of similar length are tested together, so that little is padded.
        order = sorted(range(len(rows)), key=lambda i: len(rows.tokens[i]["input_ids"]))
        self.model.eval()
        found = torch.empty(len(rows), max(1, self.task.data.classes))
        with torch.no_grad():
            for start in range(0, len(order), _TESTED):
                some = order[start : start + _TESTED]
                found[some] = self.logits(self._batch(rows, some)).cpu()
        self.model.train(training)
        return results(found, torch.tensor(rows.labels), self.task.data.classes)

    def record(self, epoch: int) -> dict[str, Any]:
        """Test the model and return the row of the curve after `epoch` epochs.

        With a validation split, the model is tested on it, and the weights of the best epoch are kept.
        """
        split = "test" if self.best is None else "validation"
        found = self.evaluate(split)
        if self.best is not None:
            self.best.offer(epoch, found, self.model)
        task = self.task
        about = {"method": task.method, "seed": task.seed, "epoch": epoch, "epochs": task.settings.epochs}
        ledger = self.selector.ledger
        # Each training starts with a new selector, and so with a new ledger.
        ledger.baseline_seconds, ledger.stretch = task.baseline_seconds, task.stretch
        return epoch_row(about, split, found, ledger, self.cpu)

    def result(self) -> dict[str, Any]:
        """The row of a finished run."""
        data = self.task.data
        return finished_row(self.curve, metrics_of(data)[0], len(data), self.selector.ledger)


def _arguments(s: Settings, seed: int, folder: str) -> TrainingArguments:
    return TrainingArguments(
        folder,
        num_train_epochs=s.epochs,
        per_device_train_batch_size=s.batch_size,
        learning_rate=s.lr or 0.0,
        weight_decay=s.weight_decay,
        adam_beta1=s.momentum,
        optim="adamw_torch",
        seed=seed,
        label_smoothing_factor=s.label_smoothing,
        bf16=s.amp,
        use_cpu=(s.device or "cpu") == "cpu",
        dataloader_num_workers=s.workers,
        dataloader_pin_memory=(s.device or "cpu") != "cpu",
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
