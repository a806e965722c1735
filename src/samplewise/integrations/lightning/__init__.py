"""Lightning (`lightning` and `pytorch_lightning`): a callback that selects the rows of each batch."""

from samplewise.integrations.lightning.advice import advise
from samplewise.integrations.lightning.callback import SelectionCallback, weighted_mean

__all__ = ["SelectionCallback", "advise", "weighted_mean"]
