"""`OwnTraining`: a function of the user's as the training of a study."""

import hashlib
import inspect
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from samplewise.bench import machine
from samplewise.bench.methods import chooses_coreset, split
from samplewise.bench.study.jobs import Job
from samplewise.bench.study.spec import At
from samplewise.bench.study.trainer import OnStep
from samplewise.coresets.parse import parse
from samplewise.policy import Policy
from samplewise.selector import Selector

__all__ = ["OwnTraining", "Report"]

Metrics = Mapping[str, float]


class Report:
    """Takes the validation results of a run after each epoch. The run calls it."""

    def __init__(self, policy: Any, epochs: int, by: str, at: At, sign: int, on_step: OnStep) -> None:
        self.policy, self.epochs, self.by, self.at = policy, epochs, by, at
        self.sign, self.on_step = sign, on_step
        self.curve: list[list[float]] = []
        self.validation: dict[str, float] = {}
        self.best: dict[str, Any] = {}
        self.selector: Selector | None = None
        self.begun = time.process_time()

    def __call__(
        self,
        selector: Selector,
        validation: Metrics,
        test: Metrics | Callable[[], Metrics] | None = None,
    ) -> None:
        """Report an epoch.

        Args:
            selector: of this run; its ledger gives the cost so far.
            validation: results on validation data, by name.
            test: the same results on test data, or a function that computes them. It is called only if
                this epoch is the best one so far on validation.
        """
        if not isinstance(selector, Selector):
            raise TypeError(f"report needs the run's Selector, got {type(selector).__name__}.")
        self._refuse_other_run(selector)
        self.validation = _numbers("report(validation=...)", validation)
        if self.by not in self.validation:
            raise ValueError(
                f"report(validation=...) must hold the metric {self.by!r} of the study, got "
                f"{', '.join(self.validation) or 'nothing'}."
            )
        self.selector = selector
        cost, seconds = selector.ledger.cost, time.process_time() - self.begun
        value = self.validation[self.by]
        self.curve.append([len(self.curve) + 1, cost, seconds, value])
        self.on_step(min(1.0, len(self.curve) / self.epochs))
        if test is None and self.at == "best":
            raise ValueError(
                "report(test=...) must give the test results of a best epoch, because the study has "
                'at="best", got none. Give a function that computes them, or judge at="last".'
            )
        held = self.best.get("validation", {}).get(self.by, math.nan)
        if math.isnan(held) or self.sign * value > self.sign * held:
            found = test() if callable(test) else test
            self.best = {
                "epoch": len(self.curve),
                "cost": cost,
                "seconds": seconds,
                "validation": self.validation,
            }
            if found is not None:
                self.best["test"] = _numbers("report(test=...)", found)

    def _refuse_other_run(self, selector: Selector) -> None:
        """Raise if the training takes another policy or length than it was given, or reports too often."""
        if isinstance(self.policy, Policy) and repr(selector.policy) != repr(self.policy):
            raise ValueError(
                f"train must give its policy to the Selector: it must be {self.policy!r:.200}, got "
                f"{selector.policy!r:.200}."
            )
        if selector.epochs != self.epochs:
            raise ValueError(
                f"train must train for the epochs that it gets: Selector(epochs=...) must be {self.epochs}, "
                f"got {selector.epochs}."
            )
        if len(self.curve) >= self.epochs:
            raise ValueError(
                f"train must call report once after every epoch: {self.epochs} times, got one more."
            )


@dataclass(frozen=True)
class OwnTraining:
    """The user's function `train(policy, seed, epochs, report)` as a trainer.

    Args:
        train: does one run and returns the results on test data, by name.
        by: the metric that the study judges.
        sign: 1 if a higher metric is better, else -1.
        key: names the task. Rows are kept under it, so it must change when the training changes. By
            default it is the digest of the function's source.
        at: "last" or "best": the epoch that the study judges.
    """

    train: Callable[..., Metrics]
    by: str
    sign: int
    key: str | None = None
    at: At = "last"

    def __post_init__(self) -> None:
        wanted = "train(policy, seed, epochs, report)"
        if not callable(self.train):
            raise TypeError(f"train must be a function {wanted}, got {self.train!r:.100}.")
        try:
            inspect.signature(self.train).bind(*[None] * 4)
        except TypeError:
            raise TypeError(f"train must take {wanted}, got train{inspect.signature(self.train)}.") from None
        except ValueError:  # a built-in function has no signature
            pass

    def task(self) -> dict[str, Any]:
        """The name of the function and the key."""
        name = getattr(self.train, "__qualname__", type(self.train).__name__)
        return {"train": name, "key": self.key or _source_digest(self.train), "by": self.by}

    def metrics(self) -> tuple[str, ...]:
        """Nothing: the function's results are known after its first run."""
        return ()

    def check(self, methods: Sequence[str]) -> None:
        """Raise if a method needs what this training does not do: settings of its own, or a scoring run."""
        for method in methods:
            if split(method)[1]:
                raise ValueError(
                    f"{method!r}: your own training takes no settings after an @. Leave them out."
                )
            if chooses_coreset(parse(method)):
                raise ValueError(
                    f"{method!r}: your own training takes no method that chooses before training. Choose "
                    "with samplewise score and samplewise select, and judge fixed:subset=FILE."
                )

    def run(self, job: Job, on_step: OnStep) -> dict[str, Any]:
        """Call the function, and read costs from the selector that it reported."""
        policy = parse(job.method)
        report = Report(policy, job.epochs, self.by, self.at, self.sign, on_step)
        begun, wall = time.process_time(), time.perf_counter()
        test = _numbers("the result of train", self.train(policy, job.seed, job.epochs, report))
        if report.selector is None:
            raise ValueError(
                "train must call report(selector, {...}) after every epoch: it gives the cost and the "
                "validation results. It was never called."
            )
        if len(report.curve) != job.epochs:
            raise ValueError(
                f"train must train for all of its epochs and report after each, {job.epochs} times, got "
                f'{len(report.curve)} reports. Early stopping is judged by at="best".'
            )
        if self.by not in test:
            raise ValueError(
                f"train must return the metric {self.by!r} of the study, got {', '.join(test) or 'nothing'}."
            )
        if "test" not in report.best:
            report.best = {}
        ledger, seconds = report.selector.ledger, time.process_time() - begun
        prior = ledger.prior_seconds
        return {
            "n": report.selector.n,
            "cost": ledger.cost,
            "cost_without_scoring": ledger.cost_without_scoring,
            "seconds": seconds + prior,
            "seconds_without_scoring": seconds,
            "wall": time.perf_counter() - wall,
            "overhead": ledger.overhead,
            "samples_backpropagated": ledger.samples_backpropagated,
            "validation": report.validation,
            "test": test,
            "best": report.best or None,
            "curve": report.curve,
            "machine": machine.machine("cpu") | machine.versions(),
        }

    def finished(self, job: Job) -> None:
        """Nothing is left behind: the function keeps its own checkpoints."""


def _numbers(what: str, found: Any) -> dict[str, float]:
    if not isinstance(found, Mapping) or not found:
        raise TypeError(f'{what} must be a mapping of results, as {{"accuracy": 91.2}}, got {found!r:.100}.')
    try:
        return {str(name): float(value) for name, value in found.items()}
    except (TypeError, ValueError):
        raise TypeError(f"{what} must hold numbers, got {found!r:.200}.") from None


def _source_digest(train: Callable[..., Any]) -> str:
    try:
        source = inspect.getsource(train)
    except (OSError, TypeError):
        raise ValueError(
            "Study cannot read the source of train, which names the task. Give Study(key=...) a text that "
            "changes when the training changes."
        ) from None
    return hashlib.sha256(source.encode()).hexdigest()[:16]
