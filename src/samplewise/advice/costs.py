"""Seconds of an epoch of a method, from what it does and from what was measured. Plain arithmetic."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from samplewise.advice.measuring import Measured
from samplewise.advice.rehearsal import Rehearsal, Work

__all__ = ["Spent", "Times", "ordinary", "spent", "static"]

_DRAWS = 500
"""Bootstrap draws of the rounds."""
Seconds = Float[np.ndarray, " draws"]


class Times:
    """The medians of what was measured: first those of all rounds, then those of bootstrap draws of them.

    All quantities of a draw are from the same rounds, because they were measured in turns.

    Args:
        measured: seconds by round.
        n: number of samples.
        batch_size: of a step.
        workers: processes that load while the model works.
    """

    def __init__(self, measured: Measured, n: int, batch_size: int, workers: int = 0) -> None:
        self.n, self.batch_size, self.workers, self.sizes = n, batch_size, workers, measured.sizes
        rounds = measured.rounds
        drawn = np.random.default_rng(0).integers(rounds, size=(_DRAWS, rounds))
        drawn = np.concatenate([np.arange(rounds)[None], drawn])
        self._medians: dict[str, Seconds] = {
            name: np.median(seconds[drawn], axis=1) for name, seconds in measured.seconds.items()
        }

    def of(self, name: str) -> Seconds:
        """The medians of what has this name; 0 if it was not measured."""
        return self._medians.get(name, np.zeros(_DRAWS + 1))

    def median(self, name: str) -> float:
        """The median of all rounds."""
        return float(self.of(name)[0])

    def step(self, rows: float) -> Seconds:
        """Seconds of a training step of so many rows, on the line between the two nearest measured sizes."""
        sizes = self.sizes
        if len(sizes) == 1:
            alone: Seconds = self.of(f"step {sizes[0]}") * rows / sizes[0]
            return alone
        above = min(max(1, int(np.searchsorted(sizes, rows))), len(sizes) - 1)
        low, high = sizes[above - 1], sizes[above]
        begins, ends = self.of(f"step {low}"), self.of(f"step {high}")
        found: Seconds = np.maximum(0.0, begins + (ends - begins) * (rows - low) / (high - low))
        return found

    @property
    def learning(self) -> Seconds:
        """What the head of `at=` adds to a step."""
        found: Seconds = np.maximum(0.0, self.of("learning") - self.of(f"step {self.batch_size}"))
        return found


@dataclass(frozen=True)
class Spent:
    """Seconds of an epoch by what takes them, and the share of the rows that train."""

    loading: Seconds
    training: Seconds
    scoring: Seconds
    selecting: Seconds
    scoring_run: Seconds
    trained: float

    @property
    def total(self) -> Seconds:
        """All seconds of an epoch."""
        found: Seconds = self.loading + self.training + self.scoring + self.selecting + self.scoring_run
        return found

    def takes_back(self, ordinary: "Spent") -> dict[str, float]:
        """What takes back a part of the saving that the left-out rows promise.

        In shares of ordinary training. Their sum is the share of the rows that is left out, less the share of
        the time that is saved.
        """
        whole = float(ordinary.total[0])
        promised = {"loading": ordinary.loading, "small steps": ordinary.training}
        found = {
            "loading": self.loading,
            "small steps": self.training,
            "scoring": self.scoring,
            "selecting": self.selecting,
            "the scoring run": self.scoring_run,
        }
        return {
            name: float(seconds[0] - self.trained * promised.get(name, np.zeros(1))[0]) / whole
            for name, seconds in found.items()
        }


def ordinary(times: Times, full: Rehearsal) -> Spent:
    """An epoch of ordinary training without a Selector.

    Args:
        times: what was measured.
        full: the rehearsal of `full`, which trains the same batches.
    """
    found = spent(times, full, 0.0, "")
    return replace(found, selecting=np.zeros_like(found.selecting))


def spent(times: Times, rehearsal: Rehearsal, plain: float, option: str) -> Spent:
    """An epoch of a method.

    Args:
        times: what was measured.
        rehearsal: of the method, with batches of the same size.
        plain: seconds of a step without a Selector that the stand-in task takes outside of the model.
        option: of scoring, as it was measured.
    """
    scale = times.n / rehearsal.rows / rehearsal.epochs
    work = [(each, count * scale) for each, count in rehearsal.work.items()]
    if rehearsal.rows < times.n:
        parts = [(_whole(each, times.batch_size), count) for each, count in work]
        work = [(each, count * part) for (each, part), count in parts]
    rows = sum(each.trained * count for each, count in work)
    own = max(0.0, rehearsal.selecting - plain * rehearsal.steps)
    return _sum(times, work, option, rows / times.n, own * scale)


def static(times: Times, share: float, recording: float, ordinary: Spent) -> Spent:
    """An epoch of training on a coreset, with its part of the scoring run.

    Args:
        times: what was measured.
        share: of the samples, in the coreset.
        recording: epochs of the scoring run for each epoch of this training.
        ordinary: an epoch of ordinary training, as the scoring run has them.
    """
    b = times.batch_size
    found = _sum(times, [(Work(b, 0, b), share * times.n / b)], "", share)
    return replace(found, scoring_run=recording * ordinary.total)


def _whole(work: Work, batch_size: int) -> tuple[Work, float]:
    """A step of a batch that is not full as a part of a step of a full one.

    The stand-in task has few batches an epoch, and the real one many: nearly all are full.
    """
    if not 0 < work.read < batch_size or not work.trained:
        return work, 1.0
    share = work.read / batch_size
    return Work(batch_size, work.scored / share, work.trained / share), share


def _sum(
    times: Times, work: Iterable[tuple[Work, float]], option: str, trained: float, selecting: float = 0.0
) -> Spent:
    """The seconds of an epoch whose steps and passes came so often."""
    b, zero = times.batch_size, np.zeros_like(times.of("load"))
    loading, training, scoring, taking = zero, zero, zero, zero
    for each, count in work:
        reads, scores, steps = times.of("load") * each.read / b, zero, zero
        if each.scored:
            scores = times.of(f"score {option}") * each.scored / b
        if each.trained:
            steps = times.step(each.trained)
            scores = scores + times.learning * (option == "at")
            if times.workers:  # they load while the model works
                reads = np.maximum(0.0, reads - steps - scores)
            if each.trained < each.read:
                taking = taking + count * np.maximum(0.0, times.of("take")) * each.trained / (b / 2)
        elif times.workers:  # a pass has none
            reads = times.of("alone") * each.read / b
        loading, training = loading + count * reads, training + count * steps
        scoring = scoring + count * scores
    return Spent(loading, training, scoring, taking + selecting, zero, trained)
