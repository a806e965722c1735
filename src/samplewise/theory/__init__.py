"""The theory of the papers as functions: margin selection in the perceptron, convergence bounds, flows."""

from samplewise.checks import require

require("scipy", "theory")

from samplewise.theory import bounds, flows, perceptron  # noqa: E402 - require must raise its error first

__all__ = ["bounds", "flows", "perceptron"]
