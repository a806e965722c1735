"""`ScoringForward`: what runs when a batch is scored, and what that costs."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

from samplewise.cost.flops import counted
from samplewise.cost.ledger import BACKWARD, FORWARD, Ledger
from samplewise.data.declared import Form
from samplewise.data.outputs import Batch, walk
from samplewise.loop.again import Chosen
from samplewise.loop.target import TargetSet

__all__ = ["ScoringForward", "shape_of"]

T = TypeVar("T")
Key = tuple[Any, ...]
Shapes = Mapping[str, tuple[int, ...]]


class ScoringForward:
    """The user's forward of a whole batch. A cheaper scoring forward is a subclass.

    A cheap scoring forward is charged by its FLOPs. They are counted at the first batch of each shape.

    Args:
        ledger: is charged.
        view: scores see `view(data)`; None: all data.
    """

    cheap: bool
    """Whether the ledger is charged by FLOPs, in place of one forward for each row."""
    model: nn.Module | None = None
    """The module that scores; None: the user's model. Callers set its mode, and restore it after."""
    apart = False
    """Whether another model scores. `came` must be called, and forward may give losses only."""
    learns = False
    """Whether `trains` must be called."""
    target: TargetSet | None = None
    """The samples towards which rows are chosen. Then only scoring forwards are observed."""

    def __init__(self, ledger: Ledger, view: Callable[[Any], Any] | None = None) -> None:
        self.ledger, self.view, self.cheap = ledger, view, view is not None
        self._flops: dict[Key, int] = {}
        self._viewed: set[Key] = set()

    def forward(self, given: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The forward that scores, in place of the user's."""
        return given

    def seen(self, data: Any, b: int) -> Any:
        """What scores see of the data of a batch of b rows.

        Raises:
            ValueError: at the first batch of a shape, if the view changed the rows, or the batch in place.
        """
        if self.view is None:
            return data
        before = _tensors(data)
        seen = self.view(data)
        if (key := tuple(before.items())) not in self._viewed:
            _check_view(before, _tensors(data), _tensors(seen), b)
            self._viewed.add(key)
        return seen

    def run(self, forward: Callable[[Any], Any], batch: Batch) -> Any:
        """What the scoring forward of a batch returns: losses (b,) or `Outputs`.

        Args:
            forward: the user's.
            batch: with the data as `seen` gives them.
        """
        return forward(batch.data)

    def __call__(self, forward: Callable[[Any], Any], batch: Batch) -> Any:
        """`run` on what scores see of a batch; charged to the ledger if it is cheap."""
        shown = Batch(batch.ids, self.seen(batch.data, len(batch)))
        if not self.cheap:
            return self.run(forward, shown)
        try:
            done, flops = self.flops_of(shape_of(*shown), lambda: self.run(forward, shown))
        except RuntimeError as error:
            if self.view is None or "memory" in str(error):
                raise
            raise ValueError(
                "the forward cannot take what Scoring.view gives. A network with a fixed size of input needs "
                f"another option of sw.Scoring. Its error: {str(error).partition(chr(10))[0]}"
            ) from error
        self.ledger.scored_cheaply(len(batch), flops)
        return done

    def flops_of(self, key: Key, work: Callable[[], T]) -> tuple[T, int]:
        """Do work. Return its result and its FLOPs, which are counted the first time for each key."""
        if key in self._flops:
            return work(), self._flops[key]
        done, self._flops[key] = counted(work)
        return done, self._flops[key]

    def came(self, batch: Batch, chosen: Chosen | None, real: int | None) -> None:
        """Note a meta-batch, after its rows were chosen and before they train.

        Args:
            batch: all rows.
            chosen: the rows that train; None: they wait until a batch is full.
            real: number of leading rows that are not padding; None: all.
        """

    def gradients(self, forward: Callable[[Any], Any], batch: Batch, work: Callable[[Any], T]) -> T:
        """`work` on what scores see of a batch. A cheap one is charged as a forward and a backward."""
        data = self.seen(batch.data, len(batch))
        done = work(data)
        if self.cheap:
            key = shape_of(batch.ids, data)
            if key not in self._flops:  # of vmap, torch counts convolutions by groups wrongly
                self._flops[key] = counted(lambda: forward(data))[1]
            self.ledger.scored_cheaply(len(batch), (FORWARD + BACKWARD) * self._flops[key])
        return done

    def trains(self, batch: Batch, real: int | None) -> None:
        """Note that the next training forward is of this batch.

        Args:
            batch: the rows that train.
            real: number of leading rows that are not padding; None: all.
        """

    # ------------------------------------------------------------------------ several processes

    def settings(self) -> dict[str, Any]:
        """What must be equal on all processes, by name."""
        return {} if self.target is None else {"target set": self.target.shown()}

    def share(self) -> None:
        """Take over from rank 0 what must be equal on all processes, once all have agreed."""

    # ----------------------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """What a training must save of this: tensors and plain values; empty if nothing."""
        return {}

    def forms(self) -> Mapping[str, Form]:
        """The form of each entry of `state_dict`."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` gave."""


def shape_of(ids: Tensor, data: Any) -> Key:
    """Batches with the same one have the same FLOPs."""
    return (len(ids), *_tensors(data).items())


def _tensors(data: Any) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of a batch, by its path."""
    found: dict[str, tuple[int, ...]] = {}

    def note(leaf: Any, path: str) -> Any:
        if isinstance(leaf, Tensor):
            found[path] = tuple(leaf.shape)
        return leaf

    walk(data, note)
    return found


def _check_view(before: Shapes, after: Shapes, seen: Shapes, b: int) -> None:
    """Raise if a view changed the shape of the batch itself, or does not keep its b rows."""
    if before != after:
        raise ValueError(
            "Scoring.view must return new data, but it changed the batch in place: training would see the "
            "view too. Copy what you change."
        )
    for path, shape in seen.items():
        if before.get(path, ())[:1] == (b,) and shape[:1] != (b,):
            raise ValueError(
                f"Scoring.view must keep the {b} rows of a batch, got {path} of shape {shape}. Cut tokens or "
                "pixels, not samples."
            )
