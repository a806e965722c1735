"""`Kind`: what the trainings of an experiment take, images or texts; `Listener`: who is told of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from samplewise.bench.folder import RunFolder
from samplewise.bench.settings import Settings
from samplewise.bench.study.timing import Clock

__all__ = ["Kind", "Listener"]


@runtime_checkable
class Listener(Protocol):
    """Callbacks for the progress of an experiment."""

    def began(self, method: str, seed: int) -> None:
        """A run starts or continues."""

    def stepped(self, progress: float) -> None:
        """The current run has done a step; `progress` is the finished share of the run, in [0, 1]."""

    def epoch_ended(self, row: dict[str, Any]) -> None:
        """The current run has ended an epoch and was tested."""

    def ended(self, row: dict[str, Any]) -> None:
        """A run is finished and on disk. Also called for runs that were finished before."""

    def scored(self, row: dict[str, Any]) -> None:
        """A scoring run is finished and on disk. Also called for those that were finished before."""


@runtime_checkable
class Kind(Protocol):
    """What a training takes: images, or texts. It makes and does the runs of an experiment."""

    def ready(self, settings: Settings) -> Any:
        """Load the data and try every method, so that what cannot run raises before any file is written."""

    def begin(self, folder: RunFolder, settings: Settings, data: Any) -> None:
        """Start the folder, or check that it can be continued with these data."""

    def clock(self, settings: Settings, data: Any) -> Clock:
        """Time a few steps on the data."""

    def task(self, method: str, policy: Any, seed: int, data: Any, settings: Settings) -> Any:
        """The run of one method with its own settings."""

    def scoring(self, method: str, policy: Any, seed: int, data: Any, settings: Settings) -> Any:
        """The run that `coreset.scoring_task` makes a scoring run."""

    def score(self, task: Any, checkpoint: Path, on_step: Callable[[float], None]) -> Any:
        """Do or continue a scoring run."""

    def train(
        self,
        task: Any,
        checkpoint: Path,
        on_step: Callable[[float], None],
        on_epoch: Callable[[dict[str, Any]], None],
    ) -> Any:
        """Do or continue a run."""

    def save(self, path: Path, run: Any) -> None:
        """Write the trained model of a run. `path` is that of an image model, a file."""
