"""`BestEpoch`: the epoch that the validation split chooses, and the weights after it."""

import math
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["BestEpoch", "lower_is_better"]


def lower_is_better(result: str) -> bool:
    """Whether a result is better when it is lower: a loss, or the loss on a part of the data.

    >>> lower_is_better("loss"), lower_is_better("loss_docs"), lower_is_better("accuracy")
    (True, True, False)
    """
    return result == "loss" or result.startswith("loss_")


class BestEpoch:
    """The weights of the epoch with the best result on the validation split; of equal ones the first.

    Args:
        by: the result that chooses, such as "accuracy" or "loss".
    """

    def __init__(self, by: str) -> None:
        self.by = by
        self.epoch = 0
        self.found: dict[str, float] = {}
        self.weights: dict[str, Tensor] = {}

    def offer(self, epoch: int, found: dict[str, float], model: nn.Module) -> None:
        """Keep the weights of this epoch if its result is better than all before. NaN never is."""
        sign = -1 if lower_is_better(self.by) else 1
        value, best = sign * found[self.by], sign * self.found.get(self.by, math.nan)
        if not self.found or value > best or (math.isnan(best) and not math.isnan(value)):
            self.epoch, self.found = epoch, dict(found)
            self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """What is kept, for a checkpoint."""
        return {"epoch": self.epoch, "found": self.found, "weights": self.weights}

    def load_state_dict(self, state: Any, model: nn.Module) -> None:
        """Continue from a checkpoint.

        Raises:
            ValueError: if its weights do not fit the model.
        """
        if not isinstance(state, dict) or set(state) != {"epoch", "found", "weights"}:
            raise ValueError("its best epoch must hold exactly epoch, found and weights")
        mine = model.state_dict()
        if state["weights"] and (
            set(state["weights"]) != set(mine)
            or any(torch.as_tensor(state["weights"][name]).shape != mine[name].shape for name in mine)
        ):
            raise ValueError("the weights of its best epoch must be those of this model")
        self.epoch, self.found, self.weights = state["epoch"], state["found"], state["weights"]
