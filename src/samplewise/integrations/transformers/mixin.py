"""`SelectiveTrainer`, a mixin for Trainer classes. `make_selective` adds it to an existing Trainer."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
import transformers
from torch import Tensor, nn
from torch.utils.data import DataLoader

from samplewise.integrations.loggers import EpochLogger
from samplewise.integrations.transformers.calendar import by_calendar
from samplewise.integrations.transformers.callback import SelectionCallback
from samplewise.integrations.transformers.checkpoints import (
    FILE,
    checkpoints_in,
    latest_complete_checkpoint,
    read,
)
from samplewise.integrations.transformers.heads import Classes, PerSampleLoss
from samplewise.integrations.transformers.loading import IDS, WITHOUT_IDS
from samplewise.integrations.transformers.refusals import refuse
from samplewise.integrations.transformers.selection import PART, Selection, Settings
from samplewise.integrations.transformers.sft import FusedLM, Heard
from samplewise.loop.gate import Gate
from samplewise.loop.scoring import Scoring
from samplewise.selector import Selector

if TYPE_CHECKING:
    from transformers import Trainer as _Trainer
else:
    _Trainer = object

__all__ = ["SelectiveTrainer", "make_selective"]

T = TypeVar("T")


class SelectiveTrainer(_Trainer):
    """A mixin for Trainer classes: a recipe chooses the training samples.

    Define `class Mine(SelectiveTrainer, Trainer)`, then use `Mine(model, args, ..., selection="eswp")`. The
    selector is `trainer.selector`. Each `train()` starts with a new one.

    Args:
        args: arguments of the Trainer.
        selection: the name of a recipe, a `Policy`, or your own method.
        selection_seed: the seed of every draw. None means `args.data_seed`, or else `args.seed`.
        selection_epochs: with `max_steps`, the number of epochs to plan. None means as many as ordinary
            training needs for that many steps.
        per_sample_loss: `f(outputs, inputs)` that returns losses (b,) or `sw.Outputs`, for models whose loss
            is not known.
        scoring: settings of the scoring forward.
        gate: end selection if it costs more time than it saves: see `sw.Gate`.
        groups: the group of every sample, a column of the data set, or `sw.Groups`.
        loggers: of the numbers of every epoch: see `samplewise.integrations.loggers`.
        kwargs: arguments of the Trainer.
    """

    selection: Selection
    # The loss is divided by the rows or tokens of the whole optimizer step, not by the number of micro-
    # batches.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        *args: Any,
        selection: Any,
        selection_seed: int | None = None,
        selection_epochs: int | None = None,
        per_sample_loss: PerSampleLoss | None = None,
        scoring: Scoring | None = None,
        gate: bool | Gate = False,
        groups: Any = None,
        loggers: Sequence[EpochLogger] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.select_by(
            Settings(
                selection, selection_seed, selection_epochs, per_sample_loss, scoring, gate, groups, loggers
            )
        )

    def select_by(self, settings: Settings) -> None:
        """Set up selection. Called once, on an existing Trainer."""
        selection = Selection(settings)
        refuse(self)
        selection.build(self, self.loss_owner(), super().get_train_dataloader())
        self.selection = selection
        self.add_callback(SelectionCallback(selection))

    @property
    def selector(self) -> Selector:
        """The selector of this training, with scores, ledger and progress."""
        return self.selection.selector

    def loss_owner(self) -> type:
        """The next class after SelectiveTrainer in the MRO that defines `compute_loss`."""
        order = type(self).__mro__
        behind = order[order.index(SelectiveTrainer) + 1 :]
        return next(owner for owner in behind if "compute_loss" in vars(owner))

    # -------------------------------------------------------------------------------- training

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train as the Trainer does, and resume only from a complete checkpoint.

        Args:
            resume_from_checkpoint: a checkpoint. True means the last complete one in `args.output_dir`.
            args: arguments of `Trainer.train`.
            kwargs: arguments of `Trainer.train`.

        Raises:
            ValueError: if the checkpoint is incomplete, or belongs to another recipe, seed or data set.
        """
        selection = self.selection
        folder = self._folder_of(resume_from_checkpoint)
        selection.resumed = None if folder is None else read(folder)
        if folder is not None:  # check the checkpoint before its weights are loaded
            selection.build(self, self.loss_owner(), super().get_train_dataloader())
        if self.args.save_total_limit == 1:
            warnings.warn(
                "with save_total_limit=1 there is no complete checkpoint while one is written. Set it to 2.",
                stacklevel=2,
            )
        selection.pending = True
        # The sampler starts at the first sample that is not trained yet, so the Trainer must not skip
        # batches.
        skip, self.args.ignore_data_skip = self.args.ignore_data_skip, True
        try:
            return super().train(folder, *args, **kwargs)
        finally:
            self.args.ignore_data_skip, selection.pending = skip, False

    def _folder_of(self, given: str | bool | None) -> str | None:
        if given is None or given is False:
            return None
        if given is not True:
            return str(given)
        output = str(self.args.output_dir)
        if (last := latest_complete_checkpoint(output)) is None:
            raise ValueError(
                f"{output} must hold a complete checkpoint to resume from, but has none. Leave out "
                "resume_from_checkpoint to start from the beginning."
            )
        newest = checkpoints_in(output)[0]
        if Path(last) != newest:
            warnings.warn(f"{newest} is incomplete, so training resumes from {last}.", stacklevel=3)
        return last

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return the Trainer's loader with the selector's order and with ids in its batches."""
        stock = super().get_train_dataloader()
        if self.selection.pending:
            self.selection.pending = False
            self.selection.build(self, self.loss_owner(), stock)
        loader: DataLoader[Any] = self.selection.loader(self, stock)
        return loader

    def set_initial_training_values(
        self, args: Any, dataloader: DataLoader[Any]
    ) -> tuple[int, int, int, int, int, int | None, int]:
        """Return upper bounds of the lengths. The Trainer reads them before the first epoch is planned."""
        selection, calendar = self.selection, self.selection.calendar
        epochs, updates = selection.begin()
        rows = calendar.rows * calendar.accumulate
        samples = int(calendar.n * args.num_train_epochs) if args.max_steps <= 0 else calendar.total * rows
        return epochs, updates, calendar.n, samples, rows, calendar.most[1], calendar.total

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """Return the Trainer's schedule, changed to follow the progress of training.

        A scheduler that the user passed, and kinds that are not a `LambdaLR`, still count steps.
        """
        given = self.lr_scheduler is not None
        scheduler = super().create_scheduler(num_training_steps, optimizer)
        if not given:
            selection = self.selection
            selection.follows = by_calendar(
                scheduler,
                lambda step: selection.calendar.scheduled_step(selection.selector, step),
                lambda: selection.factor,
            )
        return scheduler

    def save_model(self, output_dir: str | None = None, *args: Any, **kwargs: Any) -> None:
        """Save as the Trainer does. A checkpoint that is overwritten counts as incomplete until the end."""
        if output_dir is not None and Path(output_dir).name.startswith("checkpoint-"):
            self.selection.folder = Path(output_dir)
            if self.args.should_save:
                (self.selection.folder / FILE).unlink(missing_ok=True)
        super().save_model(output_dir, *args, **kwargs)

    # ------------------------------------------------------------------------------- each step

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """Return the micro-batches of one optimizer step."""

        def get(batches: Iterator[Any]) -> tuple[list[Any], Any]:
            return super(SelectiveTrainer, self).get_batch_samples(batches, num_batches, device)

        return self.selection.fetch(get, epoch_iterator, num_batches)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        """Do the Trainer's step on the selected rows."""
        if IDS not in inputs or (PART not in inputs and len(inputs[IDS])):
            raise RuntimeError(WITHOUT_IDS)
        if not len(inputs[IDS]):
            return torch.zeros((), device=self.args.device)
        self.selection.narrowed = False
        loss = super().training_step(model, inputs, *args, **kwargs)
        if not self.selection.narrowed:
            raise RuntimeError(
                f"{type(self).__name__}.compute_loss must call super().compute_loss for selection, but "
                "does not. Remove it, and pass your loss as per_sample_loss."
            )
        return loss

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """In training, return the weighted loss of the selected rows. Otherwise return the Trainer's loss."""
        if IDS not in inputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        selection = self.selection
        raw: list[Any] = []

        def forward(chosen: dict[str, Any]) -> Any:
            if isinstance(selection.head, FusedLM):
                heard = Heard(model)
                super(SelectiveTrainer, self).compute_loss(
                    cast(Any, heard), chosen, False, num_items_in_batch
                )
                seen = selection.head.read(heard.raw, chosen)
            elif isinstance(selection.head, Classes):
                seen = selection.head.trained(model, chosen)
            else:
                seen = selection.head(model, chosen)
            raw.append(seen.raw)
            return seen

        loss = selection.loss(self, dict(inputs), num_items_in_batch, forward)
        return (loss, raw[0]) if return_outputs else loss


def make_selective(
    trainer: T,
    selection: Any,
    *,
    seed: int | None = None,
    epochs: int | None = None,
    per_sample_loss: PerSampleLoss | None = None,
    scoring: Scoring | None = None,
    gate: bool | Gate = False,
    groups: Any = None,
    loggers: Sequence[EpochLogger] = (),
) -> T:
    """Add selection to an existing Trainer, and return the same object.

    Its class changes to a subclass of its old class with `SelectiveTrainer` mixed in. Everything else stays.

    Args:
        trainer: an instance of `transformers.Trainer` or of a subclass.
        selection: the name of a recipe, a `Policy`, or your own method.
        seed: the seed of every draw. None means `args.data_seed`, or else `args.seed`.
        epochs: with `max_steps`, the number of epochs to plan. None means as many as ordinary training needs.
        per_sample_loss: `f(outputs, inputs)` that returns losses (b,) or `sw.Outputs`, for models whose loss
            is not known.
        scoring: settings of the scoring forward.
        gate: end selection if it costs more time than it saves: see `sw.Gate`.
        groups: the group of every sample, a column of the data set, or `sw.Groups`.
        loggers: of the numbers of every epoch, such as `[CsvLogger("log.csv")]`: see
            `samplewise.integrations.loggers`.

    Raises:
        TypeError: if `trainer` is not a Trainer.
        ValueError: if its settings do not work with selection, or it already selects.
    """
    if not isinstance(trainer, transformers.Trainer):
        raise TypeError(f"trainer must be an instance of transformers.Trainer, got {type(trainer).__name__}.")
    if isinstance(trainer, SelectiveTrainer):
        raise ValueError(
            f"this trainer already selects with {trainer.selector.policy.name}. Build a new Trainer."
        )
    before: type[Any] = type(trainer)
    mixed: Any = trainer
    mixed.__class__ = type(f"Selective{before.__name__}", (SelectiveTrainer, before), {})
    try:
        mixed.select_by(Settings(selection, seed, epochs, per_sample_loss, scoring, gate, groups, loggers))
    except BaseException:
        mixed.__class__ = before
        raise
    return trainer
