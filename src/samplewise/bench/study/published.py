"""Numbers that papers report for the methods of a study. They stand beside ours and decide nothing."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from samplewise.bench.judge import rungs
from samplewise.bench.study.jobs import FULL, canonical
from samplewise.bench.study.spec import located
from samplewise.checks import nearest

__all__ = ["TIME_SAVED", "Published", "full_line", "joined", "published"]

TIME_SAVED = "time saved"
"""A published metric: the share of the time of full training that a method saves, in percent."""
_KEYS = ("source", "part", "setting", "metric", "differences", "columns", "values", "said")
_KINDS = {str: "a text", bool: "true or false"}
_NUMBER = re.compile(r"(?P<value>[-+]?[\d.?]+)(?: ?(?:±|\+-) ?(?P<spread>[\d.?]+))?")


@dataclass(frozen=True)
class Published:
    """A number of a paper, and ours for the same method.

    Args:
        source: the paper and its table.
        setting: what the paper trained.
        method: as in the study; empty for what the source says in words, which is the text.
        metric: of the number; `TIME_SAVED` is one of them.
        text: the number as printed, with its spread. `?` stands for a digit that cannot be read.
        value: the number; None if a digit of it cannot be read.
        spread: its standard deviation as printed; None without one, or if a digit cannot be read.
        difference: whether it is the difference to full training, and not the result itself.
        full: the published result of full training in the same setting; None if there is none.
        ours: the mean of our runs; None before they have finished.
        ours_spread: its standard deviation over seeds; None with one seed.
        ours_full: our mean of full training with all epochs.
        seeds: of our runs.
    """

    source: str
    setting: str
    method: str
    metric: str
    text: str
    value: float | None = None
    spread: float | None = None
    difference: bool = False
    full: float | None = None
    ours: float | None = None
    ours_spread: float | None = None
    ours_full: float | None = None
    seeds: int = 0

    @property
    def kind(self) -> str:
        """What stands together in a table."""
        return f"{self.source}, {self.setting}, {self.metric}"


def published(
    blocks: Sequence[Mapping[str, Any]],
    path: Path,
    part: str | None,
    methods: Sequence[str],
    epochs: int,
    metrics: Sequence[str],
) -> tuple[Published, ...]:
    """The published numbers of a study file that belong to a part.

    Args:
        blocks: the tables [[published]] of the file.
        path: of the file, for errors.
        part: of the file; None if it has no parts.
        methods: all that the study runs beside full training.
        epochs: of full training. Its shorter runs are methods, too, as "full, 8 epochs".
        metrics: the results of the runs. The first one is that of a block which names none.

    Raises:
        ValueError: if a block has an unknown key, no source or no values, a value that is no number, or a
            method that the study does not have.
    """
    known = {str(canonical(method)): method for method in (FULL, *methods)}
    known |= {full_line(length): full_line(length) for length in rungs(epochs)}
    found: list[Published] = []
    metrics = tuple(dict.fromkeys((*metrics, TIME_SAVED)))
    for block in blocks:
        _check(block, path)
        metric = block.get("metric", metrics[0])
        if metric not in metrics:
            raise ValueError(
                f"{path}: {block['source']}: metric must be one of {', '.join(metrics)}, got "
                f"{metric!r}.{nearest(metric, metrics)}"
            )
        if block.get("part") not in (None, part):
            continue
        if "said" in block:
            found.append(Published(block["source"], block["setting"], "", metric, block["said"]))
            continue
        rows = [_row(block, metric, *pair, path) for pair in _pairs(block, path)]
        whole = next((row.value for row in rows if row.method == FULL and not row.difference), None)
        for row in rows:
            here = located(row.method, path.parent)
            same = known.get(row.method) or known.get(str(canonical(here)))
            if same is None:
                raise ValueError(
                    f"{path}: {row.source} has a number for {row.method}, which is no method of this study."
                    f"{nearest(row.method, tuple(known.values()))}"
                )
            found.append(replace(row, method=same, full=whole))
    return tuple(found)


def full_line(epochs: int) -> str:
    """The name of the line of full training."""
    return f"{FULL}, {epochs} epoch{'s' * (epochs > 1)}"


def _check(block: Mapping[str, Any], path: Path) -> None:
    for key in block:
        if key not in _KEYS:
            raise ValueError(f"{path}: [[published]] has an unknown key {key!r}.{nearest(key, _KEYS)}")
    where = f"{path}: [[published]] {block.get('source', '')}".rstrip()
    for key in ("source", "setting"):
        if not isinstance(block.get(key), str) or not block[key]:
            raise ValueError(f"{where} must have a text {key}, got {block.get(key)!r:.80}.")
    for key, default in (("part", ""), ("metric", ""), ("said", ""), ("differences", False)):
        if not isinstance(block.get(key, default), type(default)):
            raise ValueError(f"{where}: {key} must be {_KINDS[type(default)]}, got {block[key]!r:.80}.")
    columns = block.get("columns", [])
    if not isinstance(columns, list) or not all(isinstance(column, str) for column in columns):
        raise ValueError(f"{where}: columns must be a list of texts, got {columns!r:.80}.")
    if "said" in block and "values" not in block:
        return
    if not isinstance(block.get("values"), Mapping) or not block["values"] or "said" in block:
        raise ValueError(
            f"{where} must have either a table values with the methods, or a text said, got "
            f"{block.get('values')!r:.80} and {block.get('said')!r:.80}."
        )


def _pairs(block: Mapping[str, Any], path: Path) -> Iterable[tuple[str, str]]:
    """Every method of a block with its number. A list has a number for each column."""
    columns = block.get("columns", [])
    for method, value in block["values"].items():
        if isinstance(value, str):
            yield method, value
            continue
        if not isinstance(value, list) or len(value) != len(columns):
            raise ValueError(
                f"{path}: {block['source']}, {method}: must be a text, or a list with a text for each of "
                f"the {len(columns)} columns, got {value!r:.100}. An empty text stands for no number."
            )
        for column, text in zip(columns, value, strict=True):
            if text != "":
                yield joined(method, column), text


def joined(method: str, column: str) -> str:
    """A method with the parameters of a column, and with settings of its own run after an `@`.

    >>> joined("ucb:c=1", "keep=0.3"), joined("random", "keep=0.2@lr=0.1"), joined("ucb", "@lr=0.1")
    ('ucb:c=1,keep=0.3', 'random:keep=0.2@lr=0.1', 'ucb@lr=0.1')
    """
    params, _, settings = column.partition("@")
    spec, _, mine = method.partition("@")
    if params:
        spec += ("," if ":" in spec else ":") + params
    run = ",".join(part for part in (mine, settings) if part)
    return f"{spec}@{run}" if run else spec


def _row(block: Mapping[str, Any], metric: str, method: str, text: Any, path: Path) -> Published:
    match = _NUMBER.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(
            f'{path}: {block["source"]}, {method} must be a number as printed, such as "94" or "94.1±0.?". '
            f"? is a digit that cannot be read. Got {text!r:.80}."
        )
    value, spread = (_number(match[name]) for name in ("value", "spread"))
    differs = block.get("differences", False)
    return Published(block["source"], block["setting"], method, metric, text, value, spread, differs)


def _number(text: str | None) -> float | None:
    return None if text is None or "?" in text else float(text)
