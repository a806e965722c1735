"""`Settings`: all settings of `samplewise train` that decide the result of a run."""

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch

from samplewise import recipes
from samplewise.bench.cheap import scoring_of
from samplewise.bench.group_shares import CLASSES, shares_of
from samplewise.bench.language import fits as of_language
from samplewise.bench.language.fits import LANGUAGE_LR, is_language
from samplewise.bench.methods import refuse_unused, split
from samplewise.bench.models import builder
from samplewise.bench.optim import DEFAULT_LR, LrSchedule, LrShape
from samplewise.bench.text import fits as of_texts
from samplewise.bench.text.fits import FINE_TUNING_LR, is_text
from samplewise.checks import Range, Share, checked
from samplewise.coresets.over_runs import Combine
from samplewise.policy import Weighting

IRREDUCIBLE = "irreducible"
"""The name of irreducible losses in `samplewise score --method`. It is not a method for training."""
Optimizer = Literal["sgd", "adamw"]
Noise = Literal["uniform", "flip"]
Corruption = Literal["all", "gaussian", "occlusion", "resolution", "fog", "motion_blur"]
Strategy = Literal["E", "P"]
Normalize = Literal["mean1"]
Fit = Literal["cross", "holdout"]
Targets = Literal["classes", "numbers"]


@checked
@dataclass(frozen=True)
class Settings:
    """The settings of one experiment. It runs every method with every seed; all other settings are shared."""

    data: str = "digits"
    image_column: str | None = None
    label_column: str | None = None
    size: Annotated[int | None, Range(1, 4096)] = None
    model: str = "cnn"
    method: tuple[str, ...] = ("full", "evolved_sampling", "infobatch")
    epochs: Annotated[int, Range(1, 10**6)] = 30
    batch_size: Annotated[int, Range(2)] = 128
    lr: Annotated[float | None, Range(0, open_low=True)] = None
    optimizer: Optimizer = "sgd"
    weight_decay: Annotated[float, Range(0)] = 5e-4
    momentum: Annotated[float, Range(0, 1, open_high=True)] = 0.9
    schedule: LrSchedule = "onecycle"
    milestone: tuple[float, ...] = (0.5, 0.75)
    factor: Annotated[float, Range(0, 1, open_low=True)] = 0.1
    warmup: Annotated[float | None, Range(0, 1, open_high=True)] = None
    power: Annotated[float, Range(0, open_low=True)] = 1.0
    seeds: Annotated[int, Range(1, 10**4)] = 3
    augment: bool = False
    label_smoothing: Annotated[float, Range(0, 1, open_high=True)] = 0.0
    label_noise: Annotated[float, Range(0, 1, open_high=True)] = 0.0
    noise: Noise = "uniform"
    imbalance: tuple[Share, ...] = ()
    per_class: Annotated[int | None, Range(1)] = None
    image_corruption: Annotated[float, Range(0, 1)] = 0.0
    corruption: Corruption = "all"
    limit: Annotated[int | None, Range(2)] = None
    device: str | None = None
    amp: bool = False
    workers: Annotated[int, Range(0, 1024)] = 0
    threads: Annotated[int | None, Range(1, 1024)] = None  # torch crashes with many more
    test_every: Annotated[int, Range(1)] = 1
    history: bool = False
    subset: str | None = None
    strategy: Strategy = "E"
    weights: Weighting | None = None
    normalize: Normalize | None = None
    coreset_batch_size: Annotated[int | None, Range(2)] = None
    score_model: str | None = None
    proxy_width: Annotated[float, Range(0, 1, open_low=True)] = 0.5
    combine: Combine = "mean"
    fit: Fit | None = None
    text_column: tuple[str, ...] = ()
    max_length: Annotated[int, Range(4, 2**20)] = 128
    targets: Targets | None = None
    scoring: str | None = None
    gate: bool = False
    groups: str | None = None
    shares: str | None = None

    @classmethod
    def made(cls, **given: Any) -> "Settings":
        """The settings that a user gave, with the defaults that fit the model.

        Args:
            given: the settings. `text_column` may be one name.
        """
        if isinstance(given.get("text_column"), str):
            given["text_column"] = (given["text_column"],)
        return cls(**(of_texts.defaults(given) | of_language.defaults(given) | given))

    def __post_init__(self) -> None:
        # JSON has no tuples: a stored value is read as a list.
        object.__setattr__(self, "method", tuple(self.method))
        object.__setattr__(self, "milestone", tuple(self.milestone))
        object.__setattr__(self, "imbalance", tuple(self.imbalance))
        object.__setattr__(self, "text_column", tuple(self.text_column))
        self.lr_shape()
        scoring_of(self.scoring)
        shares_of(self.shares)
        self._refuse_ungrouped()
        if self.imbalance and self.per_class is not None:
            raise ValueError(
                "--imbalance and --per-class both set the sizes of the classes. Give one of them."
            )
        if self.corruption != "all" and not self.image_corruption:
            raise ValueError(
                f"--corruption {self.corruption} needs a share of the images. Give --image-corruption."
            )

    def _refuse_ungrouped(self) -> None:
        """Raise for shares without groups, and for groups without a choice that they could divide."""
        if self.shares is not None and self.groups is None:
            raise ValueError("--shares needs groups. Give --groups COLUMN.")
        if self.groups is not None and self.subset is not None:
            raise ValueError(
                "--groups cannot divide the coreset of --subset, which is chosen already. Leave out one."
            )

    @property
    def group_column(self) -> str | None:
        """The column of the data that names the groups; None: there are none, or they are the classes."""
        return None if self.groups == CLASSES else self.groups

    def lr_shape(self) -> LrShape:
        """How the learning rate changes; raises if its settings do not fit together."""
        return LrShape(self.schedule, self.milestone, self.factor, self.warmup, self.power)

    def resolved(self) -> "Settings":
        """Fill in all defaults, and check the methods, models and device.

        Raises:
            ValueError: if a method, model, device or subset cannot be used.
        """
        if not self.names:
            raise ValueError("--method must name at least one method, got none")
        twice = [name for name in self.names if self.names.count(name) > 1]
        if twice:
            raise ValueError(f"--method must name each method once, got {twice[0]} twice")
        self._refuse_mixed()
        if self.subset is not None and (stem := Path(self.subset).stem) in (*recipes.all(), "scoring"):
            raise ValueError(
                f"--subset must not have the name of a method, got {self.subset}: {stem} is one. Rename "
                "the file"
            )
        policies = self.policies()
        for name in self.method:
            refuse_unused(name, policies[name], self.of(name).schedule)
        (of_language if is_language(self.model) else of_texts).refuse_unfit(self)
        own = is_text(self.model) or is_language(self.model)
        for name in filter(None, (None if own else self.model, self.score_model)):
            builder(name)
        return replace(
            self,
            lr=self.lr if self.lr is not None else self._default_lr(),
            device=_device(self.device),
            threads=self.threads if self.threads is not None else torch.get_num_threads(),
        )

    def _refuse_mixed(self) -> None:
        """Raise if `irreducible` is mixed with other methods, or used outside `samplewise score`."""
        if IRREDUCIBLE not in self.method:
            if self.fit is not None:
                raise ValueError(f"--fit needs --method {IRREDUCIBLE}, got --method {' '.join(self.method)}")
            return
        if self.fit is None:
            raise ValueError(
                f"--method {IRREDUCIBLE} is not a method for training. First run samplewise score --method "
                f"{IRREDUCIBLE} --out il.parquet, then train with --method rho_loss:irreducible=il.parquet"
            )
        if len(self.method) > 1:
            others = ", ".join(method for method in self.method if method != IRREDUCIBLE)
            raise ValueError(
                f"--method {IRREDUCIBLE} trains on halves of the data, so it cannot be mixed with {others}. "
                "Run samplewise score once for each."
            )
        if self.seeds > 1:
            raise ValueError(f"--runs must be 1 for --method {IRREDUCIBLE}, got {self.seeds}")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of what is compared: the methods as written, and the stem of the subset's file."""
        return self.method if self.subset is None else (*self.method, Path(self.subset).stem)

    def of(self, name: str) -> "Settings":
        """The settings of one method's run: these, with those that the method has after its `@`.

        With another optimizer or schedule, its default learning rate or warm-up holds, unless the method
        has its own.

        Raises:
            ValueError: if a setting of the method cannot be used.
        """
        own = split(name)[1] if name in self.method else {}
        if not own:
            return self
        if own.get("optimizer", self.optimizer) != self.optimizer:
            own = {"lr": None} | own
        if own.get("schedule", self.schedule) != self.schedule:
            own = {"warmup": None} | own
        try:
            mine = replace(self, **own)
        except ValueError as error:
            raise ValueError(f"{name!r:.200}: {str(error).replace('Settings.', '')}") from None
        return mine if mine.lr is not None else replace(mine, lr=mine._default_lr())

    def _default_lr(self) -> float:
        """The learning rate of the optimizer, where none is given."""
        own = FINE_TUNING_LR if is_text(self.model) else LANGUAGE_LR if is_language(self.model) else {}
        return (DEFAULT_LR | own)[self.optimizer]

    def policies(self) -> dict[str, Any]:
        """The policy of each name, or the user's own method."""
        policies = {
            m: recipes.full() if m == IRREDUCIBLE else recipes.parse(split(m)[0]) for m in self.method
        }
        if self.subset is not None:
            policies[Path(self.subset).stem] = recipes.fixed(self.subset)
        return policies

    def differing(self, given: dict[str, Any]) -> list[str]:
        """Describe each setting in `given` that differs from these settings."""
        mine = asdict(self)
        return [
            f"{key} was {mine[key]!r}, now {value!r}" for key, value in given.items() if mine[key] != value
        ]


NAMES = tuple(field.name for field in fields(Settings))
ADDED = {
    *("weight_decay", "momentum", "milestone", "factor", "warmup", "power"),
    *("imbalance", "per_class", "image_corruption", "corruption", "history", "label_smoothing"),
    *("text_column", "max_length", "targets", "scoring", "gate", "groups", "shares"),
}
"""Settings that run folders of earlier versions do not have. Their defaults are what was done before."""


def _device(name: str | None) -> str:
    """Return the device of the user, or cuda if available, else cpu. Raise if it cannot be used."""
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA raises AssertionError
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"--device {name} cannot be used: {reason}") from error
    return name
