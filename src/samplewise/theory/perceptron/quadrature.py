"""Gauss-Legendre sums over the plane of teacher and probe, where the selected inputs lie."""

from dataclasses import dataclass
from functools import cache
from math import cos, inf, pi, sin, sqrt
from typing import Annotated

import numpy as np
from jaxtyping import Float64

from samplewise.checks import Range, require

special = require("scipy.special", "theory")

FAR = 8.8
"""Where a standard normal density is below 1e-17: infinity, in double precision."""


@dataclass(frozen=True)
class Field:
    """The student in units of its part outside the plane: the aligned field is `u t + v x + noise`.

    `u` is along the teacher, `v` along the plane's other axis, `m` the margin; the noise is standard normal.
    """

    u: float
    v: float
    m: float


@dataclass(frozen=True)
class Nodes:
    """Points (t, x) of the half-plane t > 0 with the probability that each stands for."""

    t: Float64[np.ndarray, " p"]
    x: Float64[np.ndarray, " p"]
    weight: Float64[np.ndarray, " p"]


def threshold(keep: Annotated[float, Range(0, 1, open_low=True)]) -> float:
    """The margin below which the share `keep` of the inputs lies; infinite for all of them.

    >>> round(threshold(0.6), 6)
    0.841621
    """
    return inf if keep == 1 else float(sqrt(2) * special.erfinv(keep))


@cache
def legendre(order: int) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
    """Nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(order)
    return (nodes + 1) / 2, weights / 2


def panels(
    edges: Float64[np.ndarray, "*rows e"], order: int
) -> tuple[Float64[np.ndarray, "*rows p"], Float64[np.ndarray, "*rows p"]]:
    """Nodes and weights between neighbouring edges, which are ascending along the last axis."""
    nodes, weights = legendre(order)
    low, width = edges[..., :-1, None], np.diff(edges)[..., None]
    shape = (*edges.shape[:-1], -1)
    return (low + width * nodes).reshape(shape), (width * weights).reshape(shape)


def selected(keep: float, theta: float, field: Field, across: int, along: int) -> Nodes:
    """The selected inputs with a positive label; the negative ones are their mirror image.

    t is the input along the teacher and x along the plane's other axis, so the probe sees
    t cos(theta) + x sin(theta), and |that| <= k cuts x for every t. `across` nodes a panel of t (the panels
    follow the cut, which is as narrow as tan(theta), and the field), `along` nodes for x. Where the field
    exceeds the margin by nine deviations of its noise nothing is left to sum.
    """
    k, c, s = threshold(keep), max(cos(theta), 0.0), sin(theta)
    u, v, m = field.u, field.v, field.m
    reach = sqrt(1 + v * v)
    end = min(FAR, (m + 9 * reach) / u if u > 0 else inf, (k + FAR * s) / c if c > 0 else inf)
    edges = [0.0, 2.0, 5.0, end]
    if c > 0 and k < inf:
        edges += [(k + j * s) / c for j in (-9, -3, 3, 9)]
    if u > 0:
        edges += [(m + j * reach) / u for j in (-4, 2)]
    cuts = np.unique(np.clip(edges, 0, end))
    t, dt = panels(cuts[np.append(True, np.diff(cuts) > 1e-14 * end)], across)
    with np.errstate(divide="ignore"):  # at theta = 0 the cut is at t = k, where no node lies
        low = np.clip((-k - c * t) / s, -FAR, FAR) if s else np.full_like(t, -FAR)
        high = np.clip((k - c * t) / s, -FAR, FAR) if s else np.full_like(t, FAR)
    nodes, weights = legendre(along)
    x = low[:, None] + (high - low)[:, None] * nodes
    weight = (dt * (high - low))[:, None] * weights * np.exp(-(t[:, None] ** 2 + x * x) / 2) / (pi * keep)
    return Nodes(np.repeat(t, along), x.ravel(), weight.ravel())
