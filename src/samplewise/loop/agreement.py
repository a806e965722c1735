"""Whether all processes built the same Selector on the same data: one exchange, before the first plan."""

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

__all__ = ["Look", "agree", "differences", "digest", "looks_at"]

_SAMPLES = 16
_PARTS = 8
"""Parts of an array whose means are compared: one-hot rows, say, all have one mean and spread."""
_CLOSE = 3e-3
"""Means of one image that two machines decoded differ by less; those of two images by more."""

_HINTS = {
    "seed": "Give all processes one seed: the Selector deals other samples to each, and keys what each draws "
    "by its rank.",
    "n": "Every process opens the whole data set: the Selector deals its samples to the processes.",
    "labels": "Every process opens the whole data set, in one order.",
    "samples": "Every process opens the whole data set, in one order. If the data set draws from a generator "
    "of its own, give Scoring(dataset=...), the same samples as they are.",
    "position": "Every process loads the state of the same checkpoint.",
    "what was loaded": "Every process loads the state of the same checkpoint.",
}
_HINT = "Build the same Selector and loader in every process."


class Look(NamedTuple):
    """What one sample looks like: what must be equal everywhere, and numbers that rounding may touch."""

    exact: str
    numbers: tuple[float, ...]


def agree(settings: Mapping[str, Any], dataset: Any) -> None:
    """Raise on every process where they differ in settings or data. A collective.

    Args:
        settings: values by name, that every process must have alike.
        dataset: the samples, compared as far as they are no matter of chance; None: there are none.

    Raises:
        ValueError: naming what differs, and what it is on which rank.
    """
    shown = {name: _shown(value) for name, value in settings.items()}
    told = collectives.everyone((shown, None if dataset is None else looks_at(dataset)))
    unlike = differences([mine for mine, _ in told])
    looks = [found for _, found in told]
    if "n" not in unlike and dataset is not None and (other := _other_samples(looks, len(dataset))):
        unlike["samples"] = other
    if unlike:
        said = "; ".join(f"{name} ({values})" for name, values in unlike.items())
        hints = dict.fromkeys(_HINTS.get(name, _HINT) for name in unlike)
        raise ValueError(
            f"the {len(told)} processes must train with the same Selector on the same data, but these "
            f"differ: {said}. {' '.join(hints)}"
        )


def differences(told: list[dict[str, str]]) -> dict[str, str]:
    """The settings that are not the same on all ranks, and their values by rank, the first few."""
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


def _shown(value: Any) -> str:
    """A setting as text, without addresses in memory, which differ by process."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


def digest(part: Any) -> str:
    """A short number for all tensors that a tree of dataclasses, mappings and sequences holds."""
    found = hashlib.sha256()
    for tensor in _tensors(part):
        array = tensor.detach().cpu().contiguous().flatten()
        found.update(
            f"{tensor.dtype}{tuple(tensor.shape)}".encode() + array.view(torch.uint8).numpy().tobytes()
        )
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


def looks_at(dataset: Any) -> list[Look] | None:
    """What a few evenly spaced samples look like; None where that is a matter of chance, or unknown.

    Each is read twice, with the global random states set to the same numbers, so that a transform that draws
    from them makes the same of it in every process. Where a sample differs from itself, the data set has
    randomness of its own and says nothing. Reading is done on copies of the data set, so that a file that it
    opens at first use is still opened by each worker for itself; a data set with `__del__` is not copied.
    """
    n = len(dataset)
    try:
        apart = _apart(dataset)
        first, again = ([_read(apart, i) for i in _spaced(n)] for _ in range(2))
    except Exception:  # the others wait in the exchange; the loader raises what is wrong with a sample
        return None
    return first if first == again else None


def _spaced(n: int) -> list[int]:
    found: list[int] = np.linspace(0, n - 1, min(n, _SAMPLES)).astype(int).tolist()
    return found


def _apart(dataset: Any) -> Any:
    """A shallow copy, also of the data sets that it wraps."""
    kind = type(dataset)
    if hasattr(kind, "__del__"):
        if kind.__module__.partition(".")[0] == "datasets":
            return dataset  # of Hugging Face: reading opens nothing
        raise TypeError(f"the end of a copy of {kind.__name__} might close a file of the original")
    copied = copy.copy(dataset)
    if isinstance(inside := getattr(copied, "dataset", None), Dataset):
        copied.dataset = _apart(inside)
    return copied


def _read(dataset: Any, i: int) -> Look:
    """One sample, as drawn from fixed random states."""
    exact, numbers = hashlib.sha256(), list[float]()
    for leaf in _leaves(quietly(_draw, dataset, i)):
        exact.update(leaf.exact.encode() + b"\0")
        numbers.extend(leaf.numbers)
    return Look(exact.hexdigest(), tuple(numbers))


def _draw(dataset: Any, i: int) -> Any:
    torch.default_generator.manual_seed(i)  # not torch.manual_seed, which also seeds accelerators
    random.seed(i)
    np.random.seed(i)  # noqa: NPY002 - a transform may draw from it
    return dataset[i]


def _leaves(value: Any) -> Iterator[Look]:
    if isinstance(value, Tensor):
        value = value.detach().cpu().to_dense()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    if isinstance(value, np.ndarray) and value.dtype == object:
        value = value.tolist()  # whose text would have addresses in memory
    if isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield Look(str(key), ())
            yield from _leaves(value[key])
    elif isinstance(value, list | tuple):
        yield Look(f"{type(value).__name__} of {len(value)}", ())
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, float):
        yield _told(np.float64(value))
    elif isinstance(value, str) and Path(value).is_absolute():
        yield Look(Path(value).name, ())  # each machine may have its own copy of the files
    elif value is None or isinstance(value, str | bytes | int):
        yield Look(repr(value), ())
    else:
        yield _told(value)


def _told(value: Any) -> Look:
    """An array, a picture, or an object of which nothing but its kind is known."""
    if hasattr(value, "tobytes") and not isinstance(value, np.ndarray | np.generic):
        value = np.asarray(value)
    if not isinstance(value, np.ndarray | np.generic):
        return Look(type(value).__name__, ())
    if value.dtype.kind not in "biuf":
        return Look(repr(value.tolist()), ())
    wide = np.asarray(value, dtype=np.float64)
    fine = wide[np.isfinite(wide)]
    spread = float(fine.std()) if fine.size else 0.0
    parts = np.array_split(fine, min(_PARTS, fine.size)) if fine.size else []
    numbers = tuple(number for part in parts for number in (float(part.mean()), spread))
    return Look(f"{value.dtype} {value.shape} {fine.size}", numbers)


def _other_samples(looks: list[list[Look] | None], n: int) -> str:
    """Which samples are others on another rank; nothing where that is not known.

    Only where most of them are: what is drawn with a small probability may spoil a few.
    """
    first, ids = looks[0], _spaced(n)
    if first is None or any(found is None for found in looks):
        return ""
    for rank, found in enumerate(looks):
        other = [i for i, mine, ones in zip(ids, found or [], first, strict=True) if not _alike(mine, ones)]
        if 2 * len(other) > len(ids):
            return f"other data on rank {rank} than on rank 0 under ids {few(torch.tensor(other))}"
    return ""


def _alike(mine: Look, ones: Look) -> bool:
    """Whether two looks are at one sample; the numbers come in pairs of a mean and the spread around it."""
    if mine.exact != ones.exact:
        return False
    numbers, others = np.reshape(mine.numbers, (-1, 2)), np.reshape(ones.numbers, (-1, 2))
    return bool((np.abs(numbers - others) <= _CLOSE * np.abs(others).max(1, keepdims=True)).all())
