"""Compares the Selector and the data of all processes, in one exchange before the first plan."""

import copy
import hashlib
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from samplewise.data.ids import few
from samplewise.data.randomness import quietly
from samplewise.distributed import collectives

__all__ = ["Summary", "agree", "differences", "digest", "summaries"]

_SAMPLES = 16
_PARTS = 8
"""Number of parts of an array whose means are compared: all one-hot rows have the same mean and spread."""
_CLOSE = 3e-3
"""Means of one image decoded on two machines differ by less; means of two images differ by more."""

_HINTS = {
    "seed": "Give all processes the same seed. The Selector deals different samples to each, and uses "
    "the rank in the keys of its draws.",
    "n": "Open the whole data set in every process: the Selector deals its samples to the processes.",
    "labels": "Open the whole data set in every process, in the same order.",
    "samples": "Open the whole data set in every process, in the same order. If the data set draws from a "
    "generator of its own, give Scoring(dataset=...) the same samples without random parts.",
    "position": "Load the state of the same checkpoint in every process.",
    "what was loaded": "Load the state of the same checkpoint in every process.",
}
_HINT = "Build the same Selector and loader in every process."


class Summary(NamedTuple):
    """A summary of one sample: a digest that must be equal, and numbers that may differ by rounding."""

    exact: str
    numbers: tuple[float, ...]


def agree(settings: Mapping[str, Any], dataset: Any) -> None:
    """Raise on every process if they differ in settings or data. Every process must call it.

    Args:
        settings: values by name that must be equal on all processes.
        dataset: the samples; those with random parts are not compared. None: there are none.

    Raises:
        ValueError: naming what differs, and what it is on which rank.
    """
    shown = {name: _as_text(value) for name, value in settings.items()}
    ranks = collectives.everyone((shown, None if dataset is None else summaries(dataset)))
    unequal = differences([settings for settings, _ in ranks])
    samples = [samples for _, samples in ranks]
    if "n" not in unequal and dataset is not None and (other := _other_samples(samples, len(dataset))):
        unequal["samples"] = other
    if unequal:
        said = "; ".join(f"{name} ({values})" for name, values in unequal.items())
        hints = dict.fromkeys(_HINTS.get(name, _HINT) for name in unequal)
        raise ValueError(
            f"the {len(ranks)} processes must train with the same Selector on the same data, but these "
            f"differ: {said}. {' '.join(hints)}"
        )


def differences(told: list[dict[str, str]]) -> dict[str, str]:
    """The settings that differ between ranks, with their first few values by rank."""
    found = {}
    for name in told[0]:
        ranks: dict[str, list[int]] = {}
        for rank, shown in enumerate(told):
            ranks.setdefault(shown[name], []).append(rank)
        if len(ranks) > 1:
            parts = [f"{value} on {_named(on)}" for value, on in ranks.items()]
            more = f" and {len(parts) - 4} other values" if len(parts) > 4 else ""
            found[name] = ", ".join(parts[:4]) + more
    return found


def _named(ranks: list[int]) -> str:
    first = ", ".join(map(str, ranks[:3]))
    return f"rank{'s' * (len(ranks) > 1)} {first}{', ...' * (len(ranks) > 3)}"


def _as_text(value: Any) -> str:
    """A setting as text, without memory addresses, which differ between processes."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


def digest(part: Any) -> str:
    """A short digest of all tensors in a tree of dataclasses, mappings and sequences."""
    found = hashlib.sha256()
    for tensor in _tensors(part):
        array = tensor.detach().cpu().contiguous().flatten()
        found.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        found.update(array.view(torch.uint8).numpy().data)
    return found.hexdigest()[:12]


def _tensors(part: Any) -> Iterator[Tensor]:
    if isinstance(part, Tensor):
        yield part
    elif isinstance(part, Mapping):
        for value in part.values():
            yield from _tensors(value)
    elif isinstance(part, list | tuple):
        for value in part:
            yield from _tensors(value)
    elif is_dataclass(part) and not isinstance(part, type):
        for each in fields(part):
            yield from _tensors(getattr(part, each.name))


# --------------------------------------------------------------------------------------- the data


def summaries(dataset: Any) -> list[Summary] | None:
    """Summaries of a few evenly spaced samples; None if they are random or cannot be read.

    Each sample is read twice, with the global random states set to the same numbers, so that a transform
    that draws from them gives the same result in every process. If the two results differ, the data set has
    random states of its own and cannot be compared. A copy of the data set is read, so that each worker
    still opens files by itself at first use. A data set with `__del__` is not copied.
    """
    n = len(dataset)
    try:
        apart = _copied(dataset)
        first, again = ([_read(apart, i) for i in _spaced(n)] for _ in range(2))
    except Exception:  # the others wait in the exchange; the loader raises what is wrong with a sample
        return None
    return first if first == again else None


def _spaced(n: int) -> list[int]:
    found: list[int] = np.linspace(0, n - 1, min(n, _SAMPLES)).astype(int).tolist()
    return found


def _copied(dataset: Any) -> Any:
    """A shallow copy of a data set and of the data sets that it wraps."""
    kind = type(dataset)
    if hasattr(kind, "__del__"):
        if kind.__module__.partition(".")[0] == "datasets":
            return dataset  # of Hugging Face: reading opens nothing
        raise TypeError(f"deleting a copy of {kind.__name__} might close a file of the original")
    copied = copy.copy(dataset)
    if isinstance(inside := getattr(copied, "dataset", None), Dataset):
        copied.dataset = _copied(inside)
    return copied


def _read(dataset: Any, i: int) -> Summary:
    """Read one sample with fixed random states."""
    exact, numbers = hashlib.sha256(), list[float]()
    for leaf in _leaves(quietly(_draw, dataset, i)):
        exact.update(leaf.exact.encode() + b"\0")
        numbers.extend(leaf.numbers)
    return Summary(exact.hexdigest(), tuple(numbers))


def _draw(dataset: Any, i: int) -> Any:
    torch.default_generator.manual_seed(i)  # not torch.manual_seed, which also seeds accelerators
    random.seed(i)
    np.random.seed(i)  # noqa: NPY002 - a transform may draw from it
    return dataset[i]


def _leaves(value: Any) -> Iterator[Summary]:
    if isinstance(value, Tensor):
        value = value.detach().cpu().to_dense()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    if isinstance(value, np.ndarray) and value.dtype == object:
        value = value.tolist()  # whose text would have addresses in memory
    if isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield Summary(str(key), ())
            yield from _leaves(value[key])
    elif isinstance(value, list | tuple):
        yield Summary(f"{type(value).__name__} of {len(value)}", ())
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, float):
        yield _of_value(np.float64(value))
    elif isinstance(value, str) and Path(value).is_absolute():
        yield Summary(Path(value).name, ())  # each machine may have its own copy of the files
    elif value is None or isinstance(value, str | bytes | int):
        yield Summary(repr(value), ())
    else:
        yield _of_value(value)


def _of_value(value: Any) -> Summary:
    """The summary of an array or a picture; of any other object only its type."""
    if hasattr(value, "tobytes") and not isinstance(value, np.ndarray | np.generic):
        value = np.asarray(value)
    if not isinstance(value, np.ndarray | np.generic):
        return Summary(type(value).__name__, ())
    if value.dtype.kind not in "biuf":
        return Summary(repr(value.tolist()), ())
    wide = np.asarray(value, dtype=np.float64)
    fine = wide[np.isfinite(wide)]
    spread = float(fine.std()) if fine.size else 0.0
    parts = np.array_split(fine, min(_PARTS, fine.size)) if fine.size else []
    numbers = tuple(number for part in parts for number in (float(part.mean()), spread))
    return Summary(f"{value.dtype} {value.shape} {fine.size}", numbers)


def _other_samples(samples: list[list[Summary] | None], n: int) -> str:
    """Which samples differ between ranks; empty if that is not known.

    Most of them must differ: a transform that acts with a small probability may change a few.
    """
    first, ids = samples[0], _spaced(n)
    if first is None or any(found is None for found in samples):
        return ""
    for rank, found in enumerate(samples):
        other = [
            i for i, mine, ones in zip(ids, found or [], first, strict=True) if not _same_sample(mine, ones)
        ]
        if 2 * len(other) > len(ids):
            return f"other data on rank {rank} than on rank 0 under ids {few(torch.tensor(other))}"
    return ""


def _same_sample(mine: Summary, ones: Summary) -> bool:
    """Whether two summaries are of the same sample. Numbers come in pairs of a mean and its spread."""
    if mine.exact != ones.exact:
        return False
    numbers, others = np.reshape(mine.numbers, (-1, 2)), np.reshape(ones.numbers, (-1, 2))
    return bool((np.abs(numbers - others) <= _CLOSE * np.abs(others).max(1, keepdims=True)).all())
