"""`measure`: seconds of loading, training and scoring on the user's own model and data, in turns."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import DataLoader

from samplewise.advice.rehearsal import WIDTH
from samplewise.advice.untouched import spare_optimizer
from samplewise.cost.ledger import Ledger
from samplewise.data.layout import Layout
from samplewise.data.outputs import Batch, Outputs, as_outputs
from samplewise.loop.early import Early
from samplewise.loop.ids import IdDataset
from samplewise.loop.scoring import Scoring, without_trace
from samplewise.loop.scoring_forward import ScoringForward

__all__ = ["LEAST", "Measured", "Measuring", "Setup", "saved_bytes"]

LEAST, MOST = 3, 40
"""Rounds."""
_AHEAD = 2
"""Batches that a worker of torch's loader prepares ahead, unless told otherwise."""
_SHORT = 0.05
"""Seconds of loading a batch and of its forward, at most, where caches matter."""
_PARTS = (1, 2, 4, 8)
"""Steps of these parts of a batch are timed."""


@dataclass(frozen=True)
class Setup:
    """What is measured.

    Args:
        model: in train mode.
        forward: batch data -> per-sample losses or `Outputs`.
        dataset: of n samples.
        n: their number.
        batch_size: of a step.
        arguments: of the DataLoader: workers, collate and the like.
        optimizer: of the user; None: SGD with momentum.
        labels: class numbers (n,), if known.
        device: of the model.
        clock: seconds from some origin.
    """

    model: nn.Module
    forward: Callable[[Any], Any]
    dataset: Any
    n: int
    batch_size: int
    arguments: Mapping[str, Any]
    optimizer: Any
    labels: Tensor | None
    device: torch.device
    clock: Callable[[], float]

    @property
    def workers(self) -> int:
        """Processes that load."""
        return int(self.arguments.get("num_workers", 0))


@dataclass(frozen=True)
class Measured:
    """Seconds by what was done, one number for each round.

    Args:
        seconds: `load`, `alone` (loading without workers), `forward`, `backward`, `optimizer`, `take`
            (picking half of the rows), `learning` (a step with the head of `at=`), `step K`, `score OPTION`.
        sizes: the numbers K of rows, ascending.
        activations: bytes that a forward of a whole batch keeps for its backward.
        fields: what forward returns.
        widths: classes and features of a sample, if forward returns logits and features.
        unfit: for each scoring option that cannot be used, the reason.
        ended: seconds that it all took.
    """

    seconds: Mapping[str, Float[np.ndarray, " rounds"]]
    sizes: tuple[int, ...]
    activations: int
    fields: tuple[str, ...]
    widths: tuple[int | None, int | None]
    unfit: Mapping[str, str] = field(default_factory=dict)
    ended: float = 0.0

    @property
    def rounds(self) -> int:
        """Number of rounds."""
        return len(self.seconds["load"])


class Measuring:
    """The rounds. Each loads a batch, and then trains, scores and picks rows of it, each once.

    Args:
        setup: what is measured.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.sizes = tuple(sorted({max(1, setup.batch_size // part) for part in _PARTS} - {1}))
        self.sizes = self.sizes or (setup.batch_size,)
        optimizer = setup.optimizer
        if optimizer is None:
            trained = [p for p in setup.model.parameters() if p.requires_grad]
            optimizer = torch.optim.SGD(trained, lr=0.0, momentum=0.9)
        self.optimizer = spare_optimizer(optimizer)
        self.layout = Layout.of(setup.arguments.get("collate_fn"))
        self.scorers: dict[str, tuple[Scoring, ScoringForward]] = {}
        self.unfit: dict[str, str] = {}
        self.took: dict[str, float] = {}
        """Seconds by what was done last."""
        self._batches = self._loader(setup.arguments)
        given = {"collate_fn": setup.arguments.get("collate_fn")}
        self._alone = self._loader(given) if setup.workers else None
        self._learn()
        self._next()
        begun = time.perf_counter()
        self.batch = self._next()
        self.first = self.outputs()
        self._short = time.perf_counter() - begun < _SHORT

    def add(self, option: str, scoring: Scoring, made: ScoringForward | None = None) -> bool:
        """Time this scoring option too, if it can be used; else note the reason."""
        found = ScoringForward(Ledger(), scoring.view) if made is None else made
        try:
            self._score(scoring, found, "first")
        except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
            self.unfit[option] = str(error).partition("\n")[0]
            return False
        self.scorers[option] = scoring, found
        return True

    def run(self, seconds: float) -> Measured:
        """Rounds for so many seconds: at least LEAST, at most MOST, after one that does not count."""
        begun = time.perf_counter()
        activations = saved_bytes(self.setup.model, lambda: self.outputs().loss)
        self.load()
        self._round()
        ends = time.perf_counter() + seconds
        rounds: list[dict[str, float]] = []
        while len(rounds) < LEAST or (len(rounds) < MOST and time.perf_counter() < ends):
            self.load()
            self._round()
            rounds.append(dict(self.took))
        first = self.first
        fields = ("loss", "logits", "targets", "features", "head")
        return Measured(
            {name: np.array([each[name] for each in rounds]) for name in rounds[0]},
            self.sizes,
            activations,
            tuple(name for name in fields if getattr(first, name) is not None),
            (_width(first.logits), _width(first.features)),
            self.unfit,
            time.perf_counter() - begun,
        )

    # ------------------------------------------------------------------------------- loading

    def _loader(self, arguments: Mapping[str, Any]) -> Iterator[Batch]:
        """Batches of the data in a random order, again and again, loaded as without a Selector."""
        setup, b = self.setup, self.setup.batch_size
        rng = torch.Generator().manual_seed(0)
        while True:
            ids = torch.randperm(setup.n, generator=rng)
            loader: DataLoader[Any] = DataLoader(
                setup.dataset,
                batch_size=b,
                sampler=ids.tolist(),
                drop_last=True,
                generator=torch.Generator().manual_seed(0),
                **arguments,
            )
            for number, data in enumerate(loader):
                yield Batch(ids[number * b : (number + 1) * b], data)

    def _learn(self) -> None:
        """Let the layout find out where the rows of a batch are."""
        if self.layout.learns:
            ids = list(range(self.setup.batch_size))
            samples = [sample for _, sample in IdDataset(self.setup.dataset).__getitems__(ids)]
            self.layout.learn(samples, self.setup.arguments["collate_fn"])

    def load(self) -> None:
        """Take the next batch, and note how long loading takes."""
        ahead = self.setup.workers * int(self.setup.arguments.get("prefetch_factor") or _AHEAD)
        for _ in range(ahead):  # these were loaded while the model worked
            self._next()
        timed, begun = max(1, self.setup.workers), self.now()
        for _ in range(timed):
            self.batch = self._next()
        self.took["load"] = (self.now() - begun) / timed
        if self._alone is not None:
            begun = self.now()
            next(self._alone).to(self.setup.device)
            self._note("alone", begun)

    def _next(self) -> Batch:
        return next(self._batches).to(self.setup.device)

    def _repeated(self) -> Iterator[None]:
        """Twice, each time with a new batch, where times are short. What counts is noted the second time.

        As in a training, memory of the same size was used just before, and the last batch is no longer at
        hand. Where times are long, this does not matter.
        """
        if self._short:
            for _ in range(2):
                self.batch = self._next()
                yield
        else:
            yield

    def close(self) -> None:
        """End the workers."""
        self._batches.close()  # type: ignore[attr-defined]  # `_loader` is a generator

    # --------------------------------------------------------------------------------- tasks

    def _round(self) -> None:
        for rows in reversed(self.sizes):
            for _ in self._repeated():
                self._step(rows)
        for option, (scoring, made) in self.scorers.items():
            for _ in self._repeated():
                self._score(scoring, made, f"score {option}")
                if isinstance(made, Early):
                    made.trains(self.batch, None)
                    self._step(self.setup.batch_size, "learning")
                elif self._short:
                    self._step(max(self.sizes[0], self.setup.batch_size // 4), "other")
        self._take()

    def _step(self, rows: int, what: str | None = None) -> None:
        """A training step of the first rows of the batch."""
        data = self._rows(rows)
        begun = self.now()
        self.optimizer.zero_grad(set_to_none=True)
        loss = as_outputs(self.setup.forward(data), rows).loss.float().mean()
        forward = self.now()
        torch.autograd.backward(loss)
        backward = self.now()
        self.optimizer.step()
        ended = self.now()
        self.took[what or f"step {rows}"] = ended - begun
        if rows == self.setup.batch_size and what is None:
            self.took["forward"] = forward - begun
            self.took["backward"] = backward - forward
            self.took["optimizer"] = ended - backward

    def _score(self, scoring: Scoring, made: ScoringForward, what: str) -> None:
        begun = self.now()
        with without_trace(self.setup.model, scoring):
            as_outputs(made(self.setup.forward, self.batch), len(self.batch))
        self._note(what, begun)

    def _take(self) -> None:
        """Pick half of the rows: the seconds beyond those for the rows of the stand-in task."""
        b = self.setup.batch_size
        rows, small = torch.arange(max(1, b // 2)), [torch.zeros(b, WIDTH), torch.zeros(b)]
        begun = self.now()
        Layout().take(small, rows, b)
        between = self.now()
        self.layout.take(self.batch.data, rows, b)
        self.took["take"] = self.now() - between - (between - begun)

    def _rows(self, rows: int) -> Any:
        b = self.setup.batch_size
        return self.batch.data if rows == b else self.layout.take(self.batch.data, torch.arange(rows), b)

    def outputs(self) -> Outputs:
        """What forward returns for the batch, checked."""
        return as_outputs(self.setup.forward(self.batch.data), self.setup.batch_size)

    # --------------------------------------------------------------------------------- clock

    def now(self) -> float:
        """Seconds. An accelerator works through a queue, so the clock is read when the queue is empty."""
        if self.setup.device.type not in ("cpu", "meta"):
            torch.accelerator.synchronize(self.setup.device)
        return self.setup.clock()

    def _note(self, what: str, begun: float) -> None:
        self.took[what] = self.now() - begun


def saved_bytes(model: nn.Module, run: Callable[[], Tensor]) -> int:
    """Bytes that a forward keeps for its backward, without the parameters and buffers of the model."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}
    held: list[Tensor] = []  # a freed tensor's place may be taken by another one

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        held.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(kept.values())


def _width(tensor: Tensor | None) -> int | None:
    return None if tensor is None or tensor.ndim < 2 else tensor.shape[-1]
