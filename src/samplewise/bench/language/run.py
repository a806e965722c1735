"""One training of a language model from random weights: one method with one seed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

import samplewise as sw
from samplewise.bench import machine, optim, rngstate
from samplewise.bench.best import BestEpoch
from samplewise.bench.cheap import gated
from samplewise.bench.language.fits import sizes_of
from samplewise.bench.language.model import build
from samplewise.bench.language.vocabulary import END, Vocabulary
from samplewise.bench.recorded import epoch_row, finished_row
from samplewise.bench.settings import Settings
from samplewise.bench.text.data import TextData
from samplewise.cost.energy import EnergyMeter
from samplewise.integrations.loggers import EpochLogger, attach
from samplewise.policy import Policy
from samplewise.tokens.outputs import IGNORED

__all__ = ["LanguageRun", "LanguageTask", "Rows", "metrics_of", "padded", "refuse_method", "results"]

_TESTED = 128
"""Rows of a batch in a test."""
_NORM = 1.0
"""Longer gradients are cut to this norm."""


@dataclass(frozen=True)
class LanguageTask:
    """The definition of one training of a language model.

    Args:
        method: its name.
        policy: a `Policy` or the user's own method.
        seed: of the weights, the order of samples, and every choice.
        data: texts, with their sources as labels.
        vocabulary: of the training texts.
        settings: of this run.
        best_by: the result that chooses the best epoch, if the data have a validation split.
        baseline_seconds: of an ordinary run with the same seed, if it is known.
        stretch: its epochs for each epoch of ordinary training.
        loggers: get the numbers of every epoch.
        meter: tells the energy of the run.
    """

    method: str
    policy: Any
    seed: int
    data: TextData
    vocabulary: Vocabulary
    settings: Settings
    best_by: str | None = None
    baseline_seconds: float | None = None
    stretch: float = 1.0
    loggers: tuple[EpochLogger, ...] = ()
    meter: EnergyMeter | None = None


class Rows(Dataset[dict[str, Tensor]]):
    """The tokens of texts as a map-style data set of mappings with `input_ids` and `labels`."""

    def __init__(self, vocabulary: Vocabulary, texts: Any, longest: int) -> None:
        self.vocabulary, self.texts, self.longest = vocabulary, texts, longest

    @cached_property
    def tokens(self) -> list[Int[Tensor, " t"]]:
        """Those of every row."""
        found = self.vocabulary.rows(self.texts[:, 0].tolist(), self.longest)
        return [torch.tensor(row) for row in found]

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self.tokens[index], "labels": self.tokens[index]}


def padded(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Collate rows: all are filled at their end to the longest one, and what is filled has no label.

    Attention is causal, so no token sees what comes after it, and no mask is needed.
    """
    tokens = [row["input_ids"] for row in rows]
    return {
        "input_ids": pad_sequence(tokens, batch_first=True, padding_value=END),
        "labels": pad_sequence(tokens, batch_first=True, padding_value=IGNORED),
    }


def metrics_of(data: TextData) -> tuple[str, ...]:
    """The results of a run: `loss`, and with several sources `loss_SOURCE` of each in the test split."""
    if data.classes == 1:
        return ("loss",)
    return ("loss", *(f"loss_{data.class_names[y]}" for y in sorted(set(data.test_y.tolist()))))


def results(
    sums: Float[Tensor, " n"], counts: Int[Tensor, " n"], sources: Int[Tensor, " n"], data: TextData
) -> dict[str, float]:
    """The mean loss of the tokens in nats, by the names of `metrics_of`.

    Args:
        sums: of the losses of each row's tokens.
        counts: of its tokens.
        sources: of the rows.
        data: whose sources they are.
    """
    found = {"loss": float(sums.sum() / counts.sum())}
    for name in metrics_of(data)[1:]:
        mine = sources == data.class_names.index(name.removeprefix("loss_"))
        found[name] = float(sums[mine].sum() / counts[mine].sum())
    return found


def refuse_method(method: str, policy: Any, data: TextData) -> None:
    """Raise if a method needs what a language model does not give.

    Args:
        method: as written.
        policy: what its recipe makes.
        data: the method is to train on.

    Raises:
        ValueError: if it needs logits of classes, features, or gradients of single samples.
    """
    if not isinstance(policy, Policy):
        return
    lacks = [name for name in ("logits", "targets", "features", "head") if name in policy.needs]
    if lacks or "gradient_norm" in policy.reads or policy.proxy:
        hint = "Use a method of losses, such as infobatch or loss_sampling, or one that chooses tokens."
        if policy.level == "static":
            hint = "Use color, or a static method of your own whose signal is the loss."
        what = " and ".join(lacks) or ("a proxy" if policy.proxy else "gradients of single samples")
        raise ValueError(
            f"{method:.200} needs {what}, which the language model of the command does not give. {hint}"
        )


class LanguageRun:
    """A training that can be done: model, optimizer and selector.

    Args:
        task: what to do.

    Raises:
        ValueError: if the method cannot be used.
    """

    def __init__(self, task: LanguageTask) -> None:
        self.task, s, data = task, task.settings, task.data
        refuse_method(task.method, task.policy, data)
        self.device = torch.device(s.device or "cpu")
        rngstate.seed_all(task.seed)
        made = build(sizes_of(s.model), len(task.vocabulary), s.max_length, task.seed)
        self.model = made.to(self.device)
        self.forward = sw.language_model(self.model)
        self.optimizer = optim.optimizer(s.optimizer, self.model, s.lr or 0.0, s.weight_decay, s.momentum)
        self.lr_shape = s.lr_shape()
        self.rows = Rows(task.vocabulary, data.train_x, s.max_length)
        self._tested: dict[str, Rows] = {}
        self.selector = sw.Selector(
            task.policy,
            self.rows,
            self._outputs,
            model=self.model,
            epochs=s.epochs,
            batch_size=s.batch_size,
            seed=task.seed,
            labels=data.train_y if data.class_names else None,
            gate=s.gate and gated(task.policy),
        )
        ledger = self.selector.ledger
        ledger.baseline_seconds, ledger.stretch = task.baseline_seconds, task.stretch
        self.cpu, self.done = 0.0, 0
        self.curve: list[dict[str, Any]] = []
        self.best = None if data.validation_y is None else BestEpoch(task.best_by or "loss")

    def _outputs(self, batch: dict[str, Tensor]) -> sw.Outputs:
        """The outputs of the model, by autocast if the settings want it."""
        moved = {name: value.to(self.device) for name, value in batch.items()}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.task.settings.amp):
            return self.forward(moved)

    def train_step(self, batch: sw.Batch, epoch: int) -> None:
        """One training step."""
        lr = (self.task.settings.lr or 0.0) * self.selector.lr_factor(epoch)
        self.lr_shape.set(self.optimizer, lr, self.selector.progress)
        loss = self.selector.loss(batch)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        clip_grad_norm_(self.model.parameters(), _NORM)
        self.optimizer.step()

    def train(
        self,
        on_step: Callable[[float], None] = lambda progress: None,
        on_epoch: Callable[[dict[str, Any]], None] = lambda row: None,
    ) -> "LanguageRun":
        """Train from the first epoch to the last.

        Args:
            on_step: called with the finished share of the run.
            on_epoch: called with the row of each tested epoch.
        """
        settings = self.task.settings
        if self.task.meter is not None:
            self.selector.ledger.measure_energy(self.task.meter)
        attach(self.selector, *self.task.loggers)
        for epoch in self._epochs(settings.epochs, on_step):
            if not epoch % settings.test_every or epoch == settings.epochs:
                self.curve.append(self.record(epoch))
                on_epoch(self.curve[-1])
        return self

    def result(self) -> dict[str, Any]:
        """The row of a finished run."""
        ledger = self.selector.ledger
        row = finished_row(self.curve, "loss", len(self.task.data), ledger)
        return row | {"tokens": ledger.tokens, "tokens_trained": ledger.tokens_trained}

    def score(self, on_step: Callable[[float], None] = lambda progress: None) -> "LanguageRun":
        """Train on all samples, with the schedule of the whole run, until the last score is final.

        The model is not tested. The policy must be that of a scoring run.
        """
        last, epochs = max(self.selector.final.values()), self.task.settings.epochs
        for _ in self._epochs(last, lambda done: on_step(done * epochs / last)):
            pass
        if self.selector.pass_due(last):
            begun = machine.clock(self.device)
            self.selector.set_epoch(last)
            self.cpu += machine.clock(self.device) - begun
        return self

    def _epochs(self, last: int, on_step: Callable[[float], None]) -> Iterable[int]:
        """Train, and give the number of each epoch when it has ended."""
        loader = self.selector.loader(collate_fn=padded, num_workers=self.task.settings.workers)
        while self.done < last:
            begun = machine.clock(self.device)
            for batch in loader:
                self.train_step(batch, self.done)
                on_step(self.selector.progress)
            self.cpu += machine.clock(self.device) - begun
            self.done += 1
            yield self.done

    def evaluate(self, split: str = "test") -> dict[str, float]:
        """Test the model on a split. See `results`."""
        x, y = self.task.data.split(split)
        if split not in self._tested:
            self._tested[split] = Rows(self.task.vocabulary, x, self.task.settings.max_length)
        rows = self._tested[split]
        # Texts of similar length are tested together, so that little is padded.
        order = sorted(range(len(rows)), key=lambda i: len(rows.tokens[i]))
        sums, counts = torch.zeros(len(rows), dtype=torch.float64), torch.zeros(len(rows), dtype=torch.int64)
        self.model.eval()
        with torch.no_grad():
            for start in range(0, len(order), _TESTED):
                some = order[start : start + _TESTED]
                found = self._outputs(padded([rows[i] for i in some]))
                losses, targets = found.token_losses, found.token_targets
                if losses is not None and targets is not None:
                    sums[some] = losses.double().sum(1).cpu()
                    counts[some] = targets.ne(IGNORED).sum(1).cpu()
        self.model.train()
        return results(sums, counts, y, self.task.data)

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
        return epoch_row(about, split, found, self.selector.ledger, self.cpu)
