"""Lightning (`lightning` and `pytorch_lightning`): a callback selects, `training_step` stays as it is."""

from samplewise.integrations.lightning.callback import SelectionCallback, weighted_mean

__all__ = ["SelectionCallback", "weighted_mean"]
