"""`Spec`: what a study asks, apart from its task. It is read from a study file."""

import itertools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from samplewise.bench.best import lower_is_better
from samplewise.bench.judge import rungs
from samplewise.bench.methods import split
from samplewise.bench.study import scales
from samplewise.bench.study.claims import Claim, of_study
from samplewise.bench.study.jobs import FULL, canonical
from samplewise.checks import Range, checked, nearest
from samplewise.coresets.from_file import file_of
from samplewise.coresets.parse import divide, parse

__all__ = [
    "CONTROLS",
    "DELTA",
    "At",
    "Spec",
    "check_methods",
    "delta_of",
    "located",
    "parsed",
    "read_toml",
    "written",
]

DELTA = {
    "accuracy": 0.3,
    "loss": 0.02,
    "worst_class": 1.0,
    "top5_accuracy": 0.3,
    "matthews": 1.0,
    "pearson": 0.5,
    "spearman": 0.5,
}
"""The smallest difference that matters, by metric: percentage points, or nats."""
CONTROLS = (
    *(f"random_dynamic:keep={keep},period=1" for keep in (0.25, 0.5, 0.75)),
    *(f"rs2:keep={keep}" for keep in (0.25, 0.5, 0.75)),
    *(f"random_batch:keep={keep}" for keep in (0.25, 0.5)),
)
"""Random selection of equal cost, which every study runs beside its methods."""
At = Literal["last", "best"]


@checked
@dataclass(frozen=True)
class Spec:
    """The question of a study.

    Args:
        methods: as on the command line, without `full`, which is the reference.
        epochs: of full training.
        seeds: runs of every method and every rung, with seeds 0, 1, ... A verdict needs 5, and wants 10.
        metric: the result that is judged.
        at: "last" judges the model after the last epoch, "best" that of the epoch that validation chooses.
        delta: the smallest difference that matters, in units of the metric.
        controls: whether the random controls run.
        tune: whether every method and every rung has its own learning rate, chosen on the validation split
            from 1/2, 1 and 2 times the study's.
        tune_seeds: runs for each of these learning rates, with seeds 1000, 1001, ...
        higher: whether a higher metric is better. By default only a `loss` is better when it is lower.
        name: a title.
        question: what the study asks, in a sentence.
        names: what tables and pictures call a method, by its text. Others are called by their text.
        claims: that one method is better than another. Their methods are written as in the study afterwards.
    """

    methods: tuple[str, ...]
    epochs: Annotated[int, Range(1, 10**6)]
    seeds: Annotated[int, Range(1, 1000)] = 10
    metric: str = "accuracy"
    at: At = "last"
    delta: Annotated[float | None, Range(0, open_low=True)] = None
    controls: bool = True
    tune: bool = False
    tune_seeds: Annotated[int, Range(1, 1000)] = 2
    higher: bool | None = None
    name: str = "study"
    question: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "methods", tuple(self.methods))
        if len(rungs(self.epochs)) < 2:
            raise ValueError(
                f"epochs must be >= 2 in a study, got {self.epochs}: the ladder needs at least 2 rungs."
            )
        if self.delta is None:
            if (delta := delta_of(self.metric)) is None:
                raise ValueError(
                    f"delta must be given for the metric {self.metric!r}: the smallest difference that "
                    "matters."
                )
            object.__setattr__(self, "delta", delta)
        if self.higher is None:
            object.__setattr__(self, "higher", not lower_is_better(self.metric))
        check_methods(self.methods)
        object.__setattr__(self, "claims", of_study(self.claims, self.methods, self.control_methods))
        object.__setattr__(self, "names", _names(self.names, self.methods))

    @property
    def margin(self) -> float:
        """`delta`, which is always set."""
        return float(self.delta or 0)

    @property
    def sign(self) -> int:
        """1 if a higher metric is better, else -1."""
        return 1 if self.higher else -1

    @property
    def control_methods(self) -> tuple[str, ...]:
        """The random controls that are not among the methods."""
        if not self.controls:
            return ()
        mine = {str(canonical(method)) for method in self.methods}
        return tuple(c for c in CONTROLS if str(canonical(c)) not in mine)


def _names(given: Mapping[str, str], methods: Sequence[str]) -> dict[str, str]:
    """The names by the texts that the study has for its methods.

    Raises:
        ValueError: for a method that the study does not have, and a name that is empty or comes twice.
    """
    known = {str(canonical(method)): method for method in methods}
    found: dict[str, str] = {}
    for text, name in given.items():
        method = known.get(str(canonical(text)))
        if method is None:
            raise ValueError(f"names must be of methods of the study, got {text!r}.{nearest(text, methods)}")
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"names: the name of {text} must be a text, got {name!r:.80}.")
        if name in (*found.values(), *(other for other in methods if other != method), FULL):
            raise ValueError(f"names must differ from one another and from all methods, got {name!r} twice.")
        found[method] = name
    return found


_STUDY = tuple(field.name for field in fields(Spec) if field.name not in ("methods", "epochs", "higher"))
_FILE = (*_STUDY, "methods", "budgets", "validation", "task")


def delta_of(metric: str) -> float | None:
    """The smallest difference that matters, of a metric or of the loss on a part of the data.

    >>> delta_of("loss_docs"), delta_of("bleu")
    (0.02, None)
    """
    return DELTA.get("loss" if lower_is_better(metric) else metric)


def check_methods(methods: Sequence[str]) -> None:
    """Raise if there is no method, if `full` is one, or if one is given twice, perhaps in another writing."""
    if not methods:
        raise ValueError("methods must name at least one method, got none.")
    seen: dict[str, str] = {}
    for method in methods:
        same = canonical(method)
        if same == canonical(FULL):
            raise ValueError("methods must not hold full: every study runs it at every length.")
        if str(same) in seen:
            raise ValueError(f"methods must name each method once, got {seen[str(same)]} and {method}.")
        seen[str(same)] = method


def read_toml(path: Path, scale: str | None = None, part: str | None = None) -> dict[str, Any]:
    """The content of a study file for one scale and one part. Its keys are checked, its task is not.

    Raises:
        ValueError: if the file cannot be read, holds unknown keys or no methods, or lacks the scale or part.
    """
    content = scales.chosen(parsed(path), path, scale, part)
    for key, kind, shown in (("task", dict, "a table [task]"), ("methods", list, "a list of methods")):
        if not isinstance(content.get(key), kind):
            raise ValueError(f"{path} must have {shown}, got {content.get(key)!r:.80}.")
    budgets = content.get("budgets", [])
    if not isinstance(budgets, list) or not all(isinstance(keep, int | float) for keep in budgets):
        raise ValueError(f"{path}: budgets must be a list of values of keep, got {budgets!r:.80}.")
    return content


def parsed(path: Path) -> dict[str, Any]:
    """The content of a study file with all its scales and parts. Its keys are checked.

    Raises:
        ValueError: if the file cannot be read, or holds unknown keys.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder, but a study is a file (TOML).{_beside(path)}")
    try:
        content = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: it must be a study file (TOML).") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{path} is no study file (TOML): {error}.") from None
    scales.refuse_unknown(content, path, _FILE)
    return content


def _beside(folder: Path) -> str:
    """What to give in place of a folder, in a sentence; empty if that is not known."""
    if (folder / "study.toml").is_file():
        return f" This is the folder of a study: continue it with samplewise train --out {folder} --resume."
    file = folder.with_name(f"{folder.resolve().name}.toml")
    return f" Did you mean {file}?" if file.is_file() else ""


def written(methods: Sequence[Any], budgets: Sequence[float] = (), folder: Path = Path()) -> tuple[str, ...]:
    """The methods of a study file as on the command line, with every point of their grids.

    An item is a method's text, or a table such as
    `{ method = "ucb", grid = { keep = [0.3, 0.5] }, run = { lr = 0.1 } }`, whose `run` holds settings of its
    own runs. With `budgets`, every method that takes `keep` and does not give it runs with each of them.

    Args:
        methods: the items.
        budgets: values of `keep`.
        folder: of the study file. A method `file.py:recipe` is looked for there first.

    >>> written([{"method": "ucb", "grid": {"keep": [0.3, 0.5], "period": [5]}}, "infobatch"], budgets=[0.1])
    ('ucb:keep=0.3,period=5', 'ucb:keep=0.5,period=5', 'infobatch:keep=0.1')
    """
    found: list[str] = []
    used = not budgets
    for item in methods:
        for spec, run in _points(item):
            keeps: Sequence[float | None] = [None]
            spec = located(spec, folder)
            policy = parse(spec)
            if budgets and "keep" in getattr(policy, "params", ()) and "keep" not in divide(spec)[1]:
                keeps, used = list(budgets), True
            for keep in keeps:
                whole = spec if keep is None else _with(spec, f"keep={keep!r}")
                found.append(f"{whole}@{run}" if run else whole)
    if not used:
        raise ValueError(
            f"budgets must apply to a method that takes keep and does not give it, got {list(budgets)} and "
            f"{', '.join(found) or 'no method'}. Leave out budgets, or keep of the method."
        )
    return tuple(found)


def located(spec: str, folder: Path) -> str:
    """The text of a method, with the path of its file from here if it lies beside the study file."""
    file = file_of(spec)
    if file is None or not (folder / file[0]).exists():
        return spec
    return f"{folder / file[0]}{spec[spec.index('.py:') + 3 :]}"


def _points(item: Any) -> list[tuple[str, str]]:
    """The grid points of one item: each a recipe's text, and the settings of its run as text."""
    if isinstance(item, str):
        spec, _ = split(item)
        return [(spec, item[len(spec) :].lstrip().removeprefix("@"))]
    if not isinstance(item, Mapping) or not isinstance(item.get("method"), str):
        raise ValueError(
            f"a method must be a text, or a table with the key method, got {item!r:.100}. "
            'Write { method = "ucb", grid = { keep = [0.3, 0.5] } }.'
        )
    known = ("method", "grid", "run")
    for key in item:
        if key not in known:
            raise ValueError(f"method {item['method']}: unknown key {key!r}.{nearest(key, known)}")
    grid, run = item.get("grid", {}), item.get("run", {})
    for key, value in (("grid", grid), ("run", run)):
        if not isinstance(value, Mapping):
            raise ValueError(f"method {item['method']}: {key} must be a table, got {value!r:.100}.")
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"method {item['method']}: grid.{key} must be a list of values, got {values!r}.")
    points = itertools.product(*([(key, value) for value in values] for key, values in grid.items()))
    ((spec, own),) = _points(item["method"])
    settings = ",".join(part for part in (own, _pairs(run.items())) if part)
    return [(_with(spec, pairs) if (pairs := _pairs(point)) else spec, settings) for point in points]


def _with(spec: str, pairs: str) -> str:
    """The text of a method with further parameters."""
    name, given = divide(spec)
    return f"{name}:{','.join([*(f'{key}={value!r}' for key, value in given.items()), pairs])}"


def _pairs(pairs: Any) -> str:
    return ",".join(f"{key}={tuple(value) if isinstance(value, list) else value}" for key, value in pairs)
