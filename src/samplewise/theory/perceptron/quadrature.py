"""Gauss-Legendre quadrature over the selected inputs, in the plane of teacher and probe."""

from dataclasses import dataclass
from functools import cache
from math import cos, inf, pi, sin, sqrt
from typing import Annotated

import numpy as np
from jaxtyping import Float64

from samplewise.checks import Range, require

special = require("scipy.special", "theory")

FAR = 8.8
"""At this distance the standard normal density is below 1e-17. It is used as infinity."""


@dataclass(frozen=True)
class Field:
    """The student, in units of its component outside the plane. The aligned field is `u t + v x + noise`.

    `u` is the component along the teacher, `v` the one along the other axis of the plane, and `m` the margin.
    The noise is standard normal.
    """

    u: float
    v: float
    m: float


@dataclass(frozen=True)
class Nodes:
    """Quadrature nodes (t, x) in the half-plane t > 0, with their probability weights."""

    t: Float64[np.ndarray, " p"]
    x: Float64[np.ndarray, " p"]
    weight: Float64[np.ndarray, " p"]


def threshold(keep: Annotated[float, Range(0, 1, open_low=True)]) -> float:
    """The margin below which the share `keep` of the inputs lies. Infinite for keep = 1.

    >>> round(threshold(0.6), 6)
    0.841621
    """
    return inf if keep == 1 else float(sqrt(2) * special.erfinv(keep))


@cache
def legendre(order: int) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
    """Gauss-Legendre nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(order)
    return (nodes + 1) / 2, weights / 2


def panels(
    edges: Float64[np.ndarray, "*rows e"], order: int
) -> tuple[Float64[np.ndarray, "*rows p"], Float64[np.ndarray, "*rows p"]]:
    """Nodes and weights in each panel between neighbouring edges. Edges ascend along the last axis."""
    nodes, weights = legendre(order)
    low, width = edges[..., :-1, None], np.diff(edges)[..., None]
    shape = (*edges.shape[:-1], -1)
    return (low + width * nodes).reshape(shape), (width * weights).reshape(shape)


def selected(keep: float, theta: float, field: Field, across: int, along: int) -> Nodes:
    """Return quadrature nodes for the selected inputs with a positive label. Negative ones are mirror images.

    t is the component of the input along the teacher, x the one along the other axis of the plane. The
    margin of the probe is |t cos(theta) + x sin(theta)|. It must be at most k, which gives an interval of x
    for every t.

    There are `across` nodes per panel of t and `along` nodes for x. The panels follow the cut, whose width is
    about tan(theta), and the field. Inputs are left out where the field exceeds the margin by nine standard
    deviations of the noise.
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
    with np.errstate(divide="ignore"):  # at theta = 0 the cut is at t = k, and no node is there
        low = np.clip((-k - c * t) / s, -FAR, FAR) if s else np.full_like(t, -FAR)
        high = np.clip((k - c * t) / s, -FAR, FAR) if s else np.full_like(t, FAR)
    nodes, weights = legendre(along)
    x = low[:, None] + (high - low)[:, None] * nodes
    weight = (dt * (high - low))[:, None] * weights * np.exp(-(t[:, None] ** 2 + x * x) / 2) / (pi * keep)
    return Nodes(np.repeat(t, along), x.ravel(), weight.ravel())
