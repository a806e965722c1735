"""`Policy`, the parts of one method, and `@recipe`, which registers a function that builds one."""

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Annotated, Any, Generic, Literal, ParamSpec, TypeVar

from samplewise.checks import Range, check_arguments, checked, nearest
from samplewise.data.html import html_table
from samplewise.data.outputs import from_forward
from samplewise.pickers import Picker
from samplewise.policy.fitting import as_tuple, refuse_misfits
from samplewise.schedules import Schedule, resolve, sized
from samplewise.schedules.parts import extremes, parts, scheduled
from samplewise.signals import Signal, needs
from samplewise.subset import Subset
from samplewise.tokens.choice import TokenChoice
from samplewise.trackers import Tracker

__all__ = ["REGISTRY", "Level", "Policy", "Recipe", "Source", "TypedRecipe", "Weighting", "recipe"]

Level = Literal["static", "epoch", "batch", "epoch+batch", "token"]
Source = Literal["none", "training", "pass", "training+pass"]
Weighting = Literal["none", "per_sample", "batch_mean"]


@checked
@dataclass(frozen=True)
class Policy:
    """One method: what it measures, remembers and chooses, and when. It is frozen and holds no data.

    Args:
        signal: one function of `samplewise.signals`, or several.
        tracker: the memory they are written to.
        picker: runs over all samples, every `every` epochs.
        batch_picker: runs inside every meta-batch.
        every: the period of `picker` in epochs.
        source: where observations come from: `training` (the ordinary forward, and the scoring
            forward of the batch level), `pass` (a pass in eval mode over all samples before a
            selection), `training+pass` (a pass over the samples left out of the epoch before, or with
            `refresh` over all), `none`.
        refresh: with source `training+pass`: the pass is over all samples, before the epochs divisible by it.
        mode: of the model while it scores, where `Selector(scoring=...)` does not say; None: `eval`.
        lr: whether `Selector.lr_factor` follows the kept share: by its `nominal` value, by the share
            `actual`ly planned, or not at all (None).
        assemble: whether the loader fills whole batches with the rows that `batch_picker` accepts.
        proxy: whether a narrow view of the model, `forward.proxy`, is trained too and runs the passes.
        final: for level static, the epoch before which the score is final: 0 is before training,
            `end` after the last epoch. A tracker that needs fewer epochs ends earlier.
        weighting: how a static coreset's scores weigh its samples, unless `subset` is told otherwise.
        batch_signal: what `batch_picker` ranks by, if that is not `signal`, from the scoring forward of a
            batch. Then `signal` and `tracker`, observed from `source`, are for `picker` only: see `combine`.
        batch_tracker: the memory that `batch_signal` is written to.
        token_choice: which tokens of a batch carry a loss, for language models. Every row trains.
    """

    signal: Signal | tuple[Signal, ...] = ()
    tracker: Tracker | None = None
    picker: Picker | None = None
    batch_picker: Picker | None = None
    every: Annotated[int, Range(1)] = 1
    source: Source = "none"
    lr: Literal["nominal", "actual"] | None = None
    final: Annotated[int | Literal["end"] | None, Range(0)] = None
    weighting: Weighting | Literal["raw"] = "none"
    proxy: bool = False
    refresh: Annotated[int | None, Range(1)] = None
    mode: Literal["eval", "train"] | None = None
    assemble: bool = False
    batch_signal: Signal | tuple[Signal, ...] = ()
    batch_tracker: Tracker | None = None
    token_choice: TokenChoice | None = None
    name: str = field(default="policy", compare=False)
    params: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), compare=False, repr=False)

    def __post_init__(self) -> None:
        refuse_misfits(self)

    @property
    def records(self) -> Mapping[str, "Policy"]:
        """The methods that it records, by name: itself, or those of a `Recorder`."""
        return {self.name: self}

    def find(self, name: str | None) -> str:
        """The name of one of its `records`. Raises for an unknown name."""
        if name not in (None, self.name):
            raise ValueError(f"this selector runs {self.name}, not {name!r}. Leave the name out.")
        return self.name

    @property
    def signals(self) -> tuple[Signal, ...]:
        """All signals, of both levels."""
        return tuple(dict.fromkeys(as_tuple(self.signal) + as_tuple(self.batch_signal)))

    def read_by(self, picker: Literal["picker", "batch_picker"]) -> tuple[tuple[Signal, ...], Tracker | None]:
        """The signals and the tracker that one of its pickers reads."""
        if picker == "batch_picker" and self.batch_tracker is not None:
            return as_tuple(self.batch_signal), self.batch_tracker
        return as_tuple(self.signal), self.tracker

    @property
    def level(self) -> Level:
        """When it chooses: once, once an epoch, in every batch, or both. `token`: tokens of batches."""
        if self.token_choice is not None:
            return "token"
        if self.final is not None:
            return "static"
        if self.batch_picker is None:
            return "epoch"
        return "batch" if self.picker is None else "epoch+batch"

    @property
    def pickers(self) -> tuple[Picker, ...]:
        """Its pickers: `picker`, then `batch_picker`, if it has them."""
        return tuple(p for p in (self.picker, self.batch_picker) if p is not None)

    @property
    def ranks(self) -> str | None:
        """The column that the last of its `pickers` ranks by."""
        named = self.pickers[-1].by if self.pickers else None
        signals, tracker = self.read_by("batch_picker")
        tracked = None if tracker is None else tracker.ranks
        return named or tracked or (signals[0].__name__ if signals else None)

    @property
    def column_names(self) -> set[str]:
        """The names that its score columns may have."""
        kept = {name for t in (self.tracker, self.batch_tracker) if t is not None for name in t.columns({})}
        made = {name for picker in self.pickers for name in picker.makes}
        return {signal.__name__ for signal in self.signals} | kept | made | {str(self.ranks)}

    @property
    def reads(self) -> tuple[str, ...]:
        """The names of the fields of `Outputs` that the signals and the choice of tokens read."""
        names = [name for signal in self.signals for name in needs(signal)]
        names = ["head" if name in ("weight", "bias") else name for name in names]
        names += ["token_losses", "token_targets"] * (self.token_choice is not None)
        return tuple(dict.fromkeys(["loss", *names]))

    @property
    def needs(self) -> tuple[str, ...]:
        """The fields of `Outputs` that forward must return. The others that are read are computed."""
        return from_forward(self.reads)

    @property
    def nonnegative(self) -> bool:
        """Whether a negative loss is an error."""
        return any(picker.nonnegative for picker in self.pickers)

    @property
    def scores(self) -> bool:
        """Whether it runs forwards in addition to those of training."""
        return "pass" in self.source or (self.batch_picker is not None and bool(self.signals))

    @property
    def by_class(self) -> bool:
        """Whether a picker needs labels."""
        return any(picker.by_class for picker in self.pickers)

    @property
    def fixed_subset(self) -> Subset | None:
        """The coreset that was chosen before the training, if it trains on one."""
        return None if self.picker is None else self.picker.fixed_subset

    def at(self, epoch: int, epochs: int) -> "Policy":
        """The policy with every schedule replaced by its number in this epoch.

        If it is not static, its trackers are also those of a training of this length (`Tracker.within`).
        """
        changed = {}
        for name in ("tracker", "picker", "batch_tracker", "batch_picker", "token_choice"):
            part = getattr(self, name)
            now = resolve(part, epoch, epochs)
            if isinstance(now, Tracker) and self.final is None:
                now = now.within(epochs)
            if now is not part:
                changed[name] = now
        return replace(self, **changed) if changed else self

    def sized(self, n: int) -> "Policy":
        """The policy with its schedules made for n samples."""
        picker = sized(self.picker, n)
        return self if picker is self.picker else replace(self, picker=picker)

    def _fits(self, part: Tracker | Schedule, epochs: int) -> None:
        """Raise, with the name of the method, if a part does not fit into a training of `epochs`."""
        try:
            part.within(epochs)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from error

    def check(self, epochs: int) -> None:
        """Raise now for what would fail later: a schedule out of range, or a training that is too short."""
        if isinstance(self.final, int) and self.final > epochs:
            raise ValueError(
                f"{self.name} scores before epoch {self.final}, but training has only {epochs} epochs. "
                "Train longer, or score earlier."
            )
        if self.final is None or self.picker is None or not self.picker.everything:
            for part in parts(self):
                if isinstance(part, Tracker | Schedule):
                    self._fits(part, epochs)
        if any(isinstance(part, Schedule) for part in parts(self)):
            # A range is one interval, so checking the smallest and the largest number is enough.
            for epoch in sorted({e for part in scheduled(self) for e in extremes(part, epochs)}):
                self.at(epoch, epochs)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "params": dict(self.params)}  # a mapping proxy does not pickle

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, params=MappingProxyType(state["params"]))

    def __repr__(self) -> str:
        if self.params or self.name in REGISTRY:
            said = ", ".join(f"{name}={value!r}" for name, value in self.params.items())
            return f"recipes.{self.name}({said})"
        shown = [f for f in fields(self) if f.repr and f.name != "name"]
        said = ", ".join(f"{f.name}={_show(getattr(self, f.name))}" for f in shown)
        return f"Policy({said})"

    def _repr_html_(self) -> str:
        parts = [
            f for f in fields(self) if f.repr and f.name != "name" and getattr(self, f.name) != f.default
        ]
        rows = [("level", self.level), *((f.name, _show(getattr(self, f.name))) for f in parts)]
        params = [(name, repr(value)) for name, value in self.params.items()]
        return html_table([*params, *rows], (), f"{self.name}, the method")


def _show(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_show, value))}{',' if len(value) == 1 else ''})"
    return f"signals.{value.__name__}" if inspect.isfunction(value) else repr(value)


REGISTRY: dict[str, "Recipe"] = {}

P = ParamSpec("P")
R = TypeVar("R")


class Recipe:
    """A registered method: a function of its parameters that returns a `Policy`.

    A function may instead return any object with `observe / plan / choose / state_dict` (see
    `samplewise.engine.own_method.Method`).
    """

    def __init__(
        self,
        build: Callable[..., Any],
        paper: str,
        level: Level,
        source: Source,
        exempt: Mapping[str, str],
        toy: Callable[[int], Any] | None,
        hints: Mapping[str, str],
    ) -> None:
        functools.update_wrapper(self, build)
        self._build, self.name, self.toy = build, build.__name__, toy
        self.paper, self.level, self.source = paper, level, source
        self.exempt, self.hints = dict(exempt), dict(hints)
        self.signature = inspect.signature(build)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for word in kwargs:
            if word not in self.signature.parameters:
                known = ", ".join(self.signature.parameters)
                has = f"has no parameter {word!r}, only {known}" if known else "takes no parameters"
                hint = self.hints.get(word) or nearest(word, self.signature.parameters).strip()
                raise ValueError(f"{self.name} {has}. {hint}".rstrip())
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ValueError(f"{self.name}: {error}") from None
        bound.apply_defaults()
        check_arguments(self.name, self._build, bound.arguments)
        built = self._build(*bound.args, **bound.kwargs)
        if not isinstance(built, Policy):
            return built
        self.refuse_other_level(built)
        # Parameters that the function itself sets show an argument in a shorter form.
        params = bound.arguments | (dict(built.params) if built.name == "policy" else {})
        return replace(built, name=self.name, params=MappingProxyType(params))

    def refuse_other_level(self, built: Policy) -> None:
        """Raise for a policy of another level or source than the recipe declares."""
        # Some static recipes take another one's score, and its source with it.
        fixed = built.source if self.level == "static" else self.source
        level = built.level
        if self.level == "batch" and built.fixed_subset is not None:
            level = "batch"  # the picker only leaves samples out of the whole training
        if (level, built.source) != (self.level, fixed):
            raise ValueError(
                f"{self.name} is registered with level={self.level!r} and source={self.source!r}, but its "
                f"policy has level={built.level!r} and source={built.source!r}. Change @recipe(...)."
            )

    def __repr__(self) -> str:
        return f"recipes.{self.name}"

    def __reduce__(self) -> str | tuple[Any, ...]:
        return (_registered, (self.name, self.__module__))


class TypedRecipe(Recipe, Generic[P, R]):
    """A recipe that keeps the parameters of its function for type checkers and completion."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        built: R = super().__call__(*args, **kwargs)
        return built


def _registered(name: str, module: str) -> Recipe:
    if name not in REGISTRY:
        importlib.import_module(module)  # a new process has not registered it yet
    return REGISTRY[name]


def recipe(
    *,
    paper: str,
    level: Level,
    source: Source,
    exempt: Mapping[str, str] = MappingProxyType({}),
    toy: Callable[[int], Any] | None = None,
    hints: Mapping[str, str] = MappingProxyType({}),
) -> Callable[[Callable[P, R]], TypedRecipe[P, R]]:
    """Register the decorated function as a method under its own name.

    Args:
        paper: where the method was published: an arXiv number or a venue.
        level: when it chooses.
        source: where its observations come from.
        exempt: laws that cannot hold for it, each with the reason.
        toy: builds an instance for n samples, for recipes that need an object.
        hints: parameters that it does not have but users look for, each with what to do instead.
    """

    def register(build: Callable[P, R]) -> TypedRecipe[P, R]:
        if build.__name__ in REGISTRY and REGISTRY[build.__name__].__module__ != build.__module__:
            raise ValueError(
                f"a recipe named {build.__name__!r} is registered already. Give the function another name."
            )
        made: TypedRecipe[P, R] = TypedRecipe(build, paper, level, source, exempt, toy, hints)
        REGISTRY[made.name] = made
        return made

    return register
