"""The papers' theory as functions: margin selection in the perceptron, convergence bounds, flows."""

from samplewise.checks import require

require("scipy", "theory")

from samplewise.theory import bounds, flows, perceptron  # noqa: E402 - after the clear error

__all__ = ["bounds", "flows", "perceptron"]
