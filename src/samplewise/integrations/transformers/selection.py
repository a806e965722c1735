"""The state of a selective Trainer: selector, calendar, per-sample losses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from samplewise import packed
from samplewise.data.dataset import length_of
from samplewise.data.outputs import Batch, Outputs
from samplewise.distributed import collectives
from samplewise.groups import as_groups
from samplewise.integrations.loggers import EpochLogger, attach
from samplewise.integrations.transformers.calendar import Calendar
from samplewise.integrations.transformers.forwards import forward_of
from samplewise.integrations.transformers.heads import (
    IGNORED,
    CausalLM,
    Classes,
    Head,
    PerSampleLoss,
    Seen,
    one_packed_row,
)
from samplewise.integrations.transformers.loading import (
    IDS,
    IGNORED_ROWS,
    WITHOUT_IDS,
    batches_of,
    loader_like,
)
from samplewise.integrations.transformers.packing import packing_of
from samplewise.integrations.transformers.refusals import (
    Held,
    head_for,
    refuse,
    refuse_groups,
    refuse_leaks,
    refuse_other_loss,
    refuse_uneven,
)
from samplewise.loop.gate import Gate
from samplewise.loop.requirements import refuse_assembled, refuse_proxy
from samplewise.loop.scoring import Scoring
from samplewise.selector import Selector

__all__ = ["PART", "Part", "Selection", "Settings"]

PART = "samplewise_part"
"""The key of a micro-batch's `Part` in its inputs."""


@dataclass(frozen=True)
class Settings:
    """The arguments of the user."""

    policy: Any
    seed: int | None = None
    epochs: int | None = None
    per_sample_loss: PerSampleLoss | None = None
    scoring: Scoring | None = None
    gate: bool | Gate = False
    groups: Any = None
    loggers: Sequence[EpochLogger] = ()


@dataclass(frozen=True)
class Part:
    """The part of a micro-batch in its optimizer step. Not a tuple: the Trainer would rebuild tuples."""

    share: float
    """Share of the real rows of the step."""
    parts: int
    """Number of micro-batches of the step."""
    counted: int | None = None
    """Number of rows of this process that are not padding and not ignored. None if labels do not show it."""


class Marked(NamedTuple):
    """The row counts of a micro-batch, computed when it is loaded. See `Part`."""

    total: int
    counted: int | None


class Selection:
    """The selector of a Trainer and its use. The selector is built again for every `train()`."""

    selector: Selector
    calendar: Calendar
    head: Head
    held: Held
    drop_last: bool
    """`drop_last` of the Trainer's own loader."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.first = 0
        """The selector's epoch that the Trainer counts as 0."""
        self.resumed: tuple[dict[str, Any], int] | None = None
        self.pending = False
        """Whether `train()` has started, but the selector is not built for it yet."""
        self.folder: Path | None = None
        """The folder of the checkpoint that is being written."""
        self.narrowed = False
        self.looked = 0
        """Number of micro-batches so far."""
        self.apart: bool | None = None
        """True once the model has shown that it keeps the sequences of a packed row apart."""
        self.factor = 1.0
        """What the learning rate is multiplied by just now, for methods that ask for it."""
        self.follows = False
        """Whether the learning rate follows the training's progress."""
        self._waited, self._rows, self._plain = 0.0, 0, True

    # -------------------------------------------------------------------------------- building

    def build(self, trainer: Any, owner: type, stock: Any) -> None:
        """Refuse what cannot work, and begin: a new selector, at the checkpoint's state if one is resumed."""
        args, settings = trainer.args, self.settings
        refuse(trainer)
        refuse_groups(args, settings.groups)
        batch_size, self.drop_last = batches_of(stock)
        refuse_uneven(args, self.drop_last)
        if settings.epochs is not None and args.max_steps <= 0:
            raise ValueError(
                "epochs needs max_steps. Without max_steps, set num_train_epochs instead of epochs."
            )
        self.head = head_for(trainer, owner, settings.per_sample_loss)
        packing, dataset = packing_of(args, stock.dataset, batch_size), stock.dataset
        if packing is not None:
            batch_size, dataset = packing.batch_size, packing.dataset
        self.calendar = Calendar(
            n=length_of(dataset),
            rows=batch_size * args.world_size,
            accumulate=args.gradient_accumulation_steps,
            drop_last=self.drop_last,
            epochs=args.num_train_epochs,
            max_steps=args.max_steps if args.max_steps > 0 else None,
            planned_epochs=settings.epochs,
            packing=packing,
            processes=args.world_size,
        )
        own_seed = args.seed if args.data_seed is None else args.data_seed
        groups = as_groups(settings.groups)
        if groups is not None:  # the Trainer removes columns that the model does not take
            groups = groups.read(trainer.train_dataset)
        self.selector = Selector(
            settings.policy,
            dataset,
            forward_of(self.head, trainer),
            model=trainer.model,
            epochs=self.calendar.selection_epochs,
            batch_size=batch_size,
            seed=own_seed if settings.seed is None else settings.seed,
            scoring=settings.scoring,
            gate=settings.gate,
            groups=groups,
        )
        if self.selector.timeline.step.gate is not None:
            self.selector.timeline.step.gate.accumulates(args.gradient_accumulation_steps)
        refuse_assembled(self.selector.policy, "a Trainer")
        refuse_proxy(self.selector.policy, "a Trainer")
        self.selector.timeline.collate = stock.collate_fn
        if packing is not None:
            self.selector.timeline.position.cut = packing.ends
        self.wait_for_everyone = trainer.accelerator.wait_for_everyone
        self.first, self.factor, self.looked, self.held = 0, 1.0, 0, Held(trainer.model)
        self.apart = None
        if self.resumed is not None:
            self.selector.load_state_dict(self.resumed[0])
            position = self.selector.timeline.where()
            if position["done"]:  # the saved learning rate already includes the factor
                self.factor = self.selector.lr_factor(position["epoch"])
        self.selector.sampler("global", drop_last=self.drop_last)  # only for its checks
        attach(self.selector, *settings.loggers)

    def loader(self, trainer: Any, stock: DataLoader[Any]) -> Any:
        """Return the Trainer's loader with the selector's order, prepared by Accelerate."""
        ours = loader_like(stock, self.selector, lambda: self.first, self.drop_last, self.calendar.packing)
        return trainer.accelerator.prepare(ours)

    def begin(self) -> tuple[int, int]:
        """Return the number of epochs, and of optimizer steps per epoch, for the Trainer.

        After a resume, the Trainer computes its epoch as steps made // steps per epoch. This is too small if
        epochs are shorter. So the Trainer counts on from that number, and `first` is the difference.
        """
        if self.resumed is None:
            return self.selector.epochs, self.calendar.most[0]
        step = self.resumed[1]
        steps, _ = self.calendar.most
        counted = step // steps
        epoch, made, planned = self.calendar.epoch_of(self.selector)
        epoch += made == planned > 0
        self.first = epoch - counted
        if self.calendar.last_step(self.selector, step) <= step:
            if epoch == self.selector.epochs:
                self.selector.set_epoch(epoch)
            return counted, steps
        return self.selector.epochs - self.first, steps

    # ------------------------------------------------------------------------------- each step

    def fetch(
        self, get: Callable[[Iterator[Any]], tuple[list[Any], Any]], batches: Iterator[Any], size: int
    ) -> tuple[list[Any], Any]:
        """Return the micro-batches of one optimizer step, each with its `Part`, and the token count.

        Args:
            get: the Trainer's function that takes micro-batches from an iterator and counts their tokens.
            batches: the iterator of the epoch.
            size: the number of micro-batches that the Trainer expects. A short epoch may have fewer. The
                Trainer does the optimizer step only after this many, so empty micro-batches are put in front.
        """
        begun = time.perf_counter()
        marks: list[Marked] = []
        group, items = get(self._marking(batches, marks))
        sizes = [mark.total if mark.counted is None else mark.counted for mark in marks]
        for batch, mark, of in zip(group, marks, sizes, strict=True):
            batch[PART] = Part(of / max(1, sum(sizes)), len(group), mark.counted)
        if 0 < len(group) < size:
            group = [_empty(group[0])] * (size - len(group)) + group
        self._waited += time.perf_counter() - begun
        return group, items

    def _marking(self, batches: Iterator[Any], marks: list[Marked]) -> Iterator[Any]:
        """Yield batches and record their real rows on all processes. Labels of padding are set to -100."""
        timeline, world = self.selector.timeline, collectives.world()
        done = timeline.where()["done"]
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            if IDS not in batch:
                raise RuntimeError(WITHOUT_IDS)
            b = len(batch[IDS])
            share, done = timeline.position.next_step(done, b) if world > 1 else (None, done + b)
            ignored = batch.pop(IGNORED_ROWS, None)
            head, real = self.head, None if share is None else share.mine
            if not (isinstance(head, Classes) and ignored is not None and head.ignores(batch["labels"])):
                ignored = None
            if real is not None and real < b and (head.by_tokens or ignored is not None):
                batch["labels"] = batch["labels"].clone()
                if head.by_tokens and one_packed_row(batch):
                    batch["labels"][packed.behind(batch, real)] = IGNORED
                else:
                    batch["labels"][real:] = IGNORED
            counted = None if ignored is None else ignored[:real].count(0)
            marks.append(Marked(b * world if share is None else share.total, counted))
            yield batch

    def loss(
        self,
        trainer: Any,
        inputs: dict[str, Any],
        items: Any,
        forward: Callable[[dict[str, Any]], Seen],
    ) -> Tensor:
        """Return the loss of a micro-batch, ready for backward.

        Args:
            trainer: the Trainer.
            inputs: the inputs of all rows, with ids and `Part`.
            items: the trained tokens of the optimizer step, as the Trainer counts them.
            forward: runs the training forward on the selected rows.
        """
        ids, part = inputs.pop(IDS), inputs.pop(PART)
        self.looked += 1
        if self.apart is None and self.head.by_tokens and len(ids) > 1 and one_packed_row(inputs):
            self.apart = refuse_leaks(trainer, self.head, inputs, len(ids))
        if isinstance(self.head, CausalLM) and not self.head.smoothing and self.looked.bit_count() == 1:
            # Check the first batch, and later ones less and less often (at powers of two).
            refuse_other_loss(trainer, self.head, inputs, self.held)
        tokens = _tokens(inputs) if self.head.by_tokens else None
        batch = self.selector.narrow(Batch(ids, inputs))
        self.narrowed = True
        self._rows += len(ids)
        self._plain = self._plain and len(batch.ids) == len(ids)
        seen = forward(batch.data)
        if tokens is not None:
            return self._by_tokens(trainer, seen, tokens, items, part)
        share = self._share(trainer, part, items, ids.device)
        return self.selector.reduce(self._divided(seen, part, len(ids))) * share

    def _divided(self, seen: Seen, part: Part, b: int) -> Outputs:
        """Return the outputs, with rows of label -100 left out of the mean, as the model does."""
        outputs = seen.outputs
        counts = None
        # With several processes, do this in every step, because the divisor may be that of all processes.
        ignores = part.counted is not None and (part.counted < b or collectives.world() > 1)
        if ignores and outputs.targets is not None:
            counts = outputs.targets.ne(IGNORED).to(outputs.loss.dtype)
            outputs = replace(outputs, normalizer=counts)
        if seen.own is not None:
            losses = outputs.loss
            self.held.see(
                seen.own, losses.mean() if counts is None else (losses * counts).sum() / counts.sum()
            )
        return outputs

    def _share(self, trainer: Any, part: Part, items: Any, device: torch.device) -> Tensor | float:
        """Return the weight of a micro-batch's mean in its optimizer step."""
        world = collectives.world()
        if (
            part.counted is None
            or world == 1
            or items is None
            or not trainer.args.average_tokens_across_devices
        ):
            return part.share
        counted = torch.tensor(part.counted, device=device)
        counted = (
            collectives.add_up(counted) if self.selector.timeline.step.means_over_all else counted * world
        )
        share: Tensor = counted / torch.as_tensor(items, device=device).clamp(min=1)
        return share

    def _by_tokens(self, trainer: Any, seen: Seen, tokens: Tensor, items: Any, part: Part) -> Tensor:
        """Return the mean over the tokens of the selected rows, scaled as a step on all rows."""
        step, outputs = self.selector.timeline.step, seen.outputs
        losses, of = outputs.loss, seen.tokens
        if of is None:
            raise RuntimeError("a head with by_tokens=True must return the token counts, but did not.")
        if step.tokens.choice is None:
            step.tokens.count(of.sum(), of.sum())
        else:
            losses, of = step.tokens.means(step.awaited(), outputs)
        weights = step.weigh(outputs, by_tokens=True)
        mean = (weights * losses * of).sum() / of.sum().clamp(min=1)
        if items is None:
            return mean / part.parts
        processes = trainer.accelerator.num_processes if trainer.args.average_tokens_across_devices else 1
        part_of_step: Tensor = tokens * processes / torch.as_tensor(items, device=mean.device).clamp(min=1)
        return mean * part_of_step

    # ---------------------------------------------------------------------------------- ledger

    def seconds_aside(self) -> float:
        """Seconds of scoring and selecting, which the selector adds to the ledger itself."""
        seconds = self.selector.ledger.seconds
        return seconds["scoring"] + seconds["selecting"]

    def account(self, worked: float) -> None:
        """Add the seconds of an optimizer step, without scoring and selecting, to the ledger."""
        ledger = self.selector.ledger
        ledger.seconds["data"] += self._waited
        ledger.seconds["training"] += worked
        if self._plain:
            ledger.plain_seconds += self._waited + worked
            ledger.plain_samples += self._rows
        self._waited, self._rows, self._plain = 0.0, 0, True


def _tokens(inputs: dict[str, Any]) -> Tensor:
    """The number of trained tokens of all rows."""
    tokens: Tensor = inputs["labels"][..., 1:].ne(IGNORED).sum()
    return tokens


def _empty(batch: Any) -> dict[str, Any]:
    """A micro-batch without rows, with the same fields."""
    b = len(batch[IDS])
    return {
        name: value[:0]
        for name, value in batch.items()
        if isinstance(value, Tensor) and value.ndim and len(value) == b
    }
