"""Trackers of feature vectors, which they keep until they have made one number a sample of them."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from samplewise.checks import checked
from samplewise.data.ids import few
from samplewise.trackers.base import Ids, State, Tracker, Values, put
from samplewise.trackers.columns import Column

__all__ = ["ClassDistance", "Features", "distances"]

Center = Literal["median", "mean"]


@checked
@dataclass(frozen=True)
class ClassDistance(Tracker):
    """The distance of each sample's features from the centre of its class, column `distance`.

    Follows the signals `features` and `target`. The centre is the coordinate-wise median (as
    `numpy.median`: the mean of the two middle ones) or the mean over the samples of the class that
    were seen. Memory: 4 d + 8 bytes a sample while recording, 4 when final.

    Raises:
        ValueError: by `finish`, if features are not finite, naming the ids.
    """

    center: Center = "median"

    @property
    def ranks(self) -> str:
        return "distance"

    def start(self, n: int, values: Values) -> State:
        if set(values) != {"features", "target"}:
            raise ValueError(
                f"ClassDistance must follow the signals features and target, got {sorted(values)}. Use "
                "Policy(signal=(signals.features, signals.target), ...)."
            )
        return super().start(n, values)

    def columns(self, values: Values) -> dict[str, Column]:
        return {
            "features": Column(of="features", until="final"),
            "target": Column(of="target", until="final"),
            "distance": Column(torch.float32, shape=(), join="same", of="features"),
        }

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        put(state, ids, values)
        return ids, values

    def finish(self, state: State) -> None:
        features, target = state.pop("features"), state.pop("target")
        found = distances(features.cpu(), target.cpu(), self.center)
        if bool((~found.isfinite() & (target.cpu() >= 0)).any()):
            # One sample that is not finite makes the centre of its class infinite: name that sample.
            wrong = (~features.isfinite().all(1) & (target >= 0)).nonzero().flatten()
            wrong = wrong if len(wrong) else (~found.isfinite() & (target.cpu() >= 0)).nonzero().flatten()
            raise ValueError(
                f"features are not finite or too large for float32, for ids {few(wrong)}. "
                "Did training diverge?"
            )
        state["distance"].copy_(found)


@dataclass(frozen=True)
class Features(Tracker):
    """The last `features` of each sample. The other signals go on to the next tracker of the pipe.

    Memory: 4 d bytes a sample.
    """

    @property
    def ranks(self) -> None:
        return None

    def start(self, n: int, values: Values) -> State:
        if "features" not in values or len(values) < 2:
            raise ValueError(
                f"Features must follow the signal features and another one, got {sorted(values)}. Use "
                "Policy(signal=(signals.features, signals.loss), tracker=Features() | ...)."
            )
        return super().start(n, values)

    def columns(self, values: Values) -> dict[str, Column]:
        return {"features": Column(of="features")}

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        put(state, ids, {"features": values["features"]})
        return ids, {name: value for name, value in values.items() if name != "features"}


def distances(
    features: Float[Tensor, "n d"], target: Int[Tensor, " n"], center: Center = "median"
) -> Float[Tensor, " n"]:
    """Euclidean distances from the centre of each sample's class; NaN where the target is negative.

    One class at a time, so the extra memory is that of the largest class's features.
    """
    classes, vectors = target.numpy(), features.numpy()
    order = np.argsort(classes, kind="stable")
    starts = np.flatnonzero(np.diff(classes[order], prepend=-1))
    found = np.full(len(classes), np.nan, dtype=np.float32)
    for members in np.split(order, starts):
        if not len(members) or classes[members[0]] < 0:
            continue
        # Columns side by side: a median over the rows of a matrix takes 1.5 times as long.
        mine = np.ascontiguousarray(vectors[members].T)
        with np.errstate(over="ignore", invalid="ignore"):  # the caller refuses what is not finite
            # By a power of two, which changes no digit: squares of very large numbers do not fit float32.
            power = np.frexp(np.abs(mine).max(initial=0))[1]
            mine = np.ldexp(mine, -power)
            middle = np.median(mine, axis=1) if center == "median" else mine.mean(axis=1, dtype=np.float64)
            mine -= middle[:, None].astype(np.float32)
            np.square(mine, out=mine)
            found[members] = np.ldexp(np.sqrt(mine.sum(axis=0, dtype=np.float64)), power)
    return torch.from_numpy(found)
