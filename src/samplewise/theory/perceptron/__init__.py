"""The teacher-student perceptron with margin selection: solutions of its equations, and simulations."""

from samplewise.theory.perceptron.printed import residuals
from samplewise.theory.perceptron.simulation import Estimate, Simulation, simulate
from samplewise.theory.perceptron.solver import Solution, solve
from samplewise.theory.perceptron.stages import (
    Comparison,
    compare,
    critical_keep,
    dynamics,
    fresh_pools,
    linear_keeps,
    same_pool,
    static,
)
from samplewise.theory.perceptron.svm import hard_margin

__all__ = [
    "Comparison",
    "Estimate",
    "Simulation",
    "Solution",
    "compare",
    "critical_keep",
    "dynamics",
    "fresh_pools",
    "hard_margin",
    "linear_keeps",
    "residuals",
    "same_pool",
    "simulate",
    "solve",
    "static",
]
