"""The propositions of Evolved Sampling as functions: averages, references, loss-weighted gradient flow."""

from samplewise.theory.flows.averages import convolution_form, decoupled, difference_form
from samplewise.theory.flows.gradient import Flow, Proposition1, advantage, flow, proposition1, spread
from samplewise.theory.flows.robust import reference_losses, reference_weights, robust_weights

__all__ = [
    "Flow",
    "Proposition1",
    "advantage",
    "convolution_form",
    "decoupled",
    "difference_form",
    "flow",
    "proposition1",
    "reference_losses",
    "reference_weights",
    "robust_weights",
    "spread",
]
