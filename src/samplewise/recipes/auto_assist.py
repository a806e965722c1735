"""A small assistant predicts whose loss is large; of the others many are not even forwarded (AutoAssist)."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from torch import Tensor

from samplewise.checks import Range
from samplewise.policy import recipe
from samplewise.recipes.assist.method import AutoAssist

__all__ = ["auto_assist"]


@recipe(
    paper="arXiv:1905.03381",
    level="batch",
    source="training",
    exempt={"one_rank_equals_two": "accepts each row by a draw of its own, so their number is not fixed"},
)
def auto_assist(
    base: Annotated[float, Range(0, 1)] = 0.3,
    lr: Annotated[float, Range(0, open_low=True)] = 0.01,
    inputs: Literal["batch"] | Callable[[Any], Tensor] = "batch",
) -> AutoAssist:
    """Accept each row with probability base + (1 - base) p; p of a large loss comes from an assistant.

    The assistant is a logistic regression, trained along. Its input is the flattened first tensor of the
    batch's data, or what `inputs`, a function of the data, returns: (b, p) floats or whole numbers, with the
    same p in every batch. It is standardised by the moments of all inputs so far; the one-hot label stands
    beside it where labels are known (`Selector(labels=...)`, or the data set's own). The rows that trained
    teach it, in one gradient step of rate `lr` a batch, whether their loss was above a moving average of the
    batches' mean losses (m <- 0.1 mean + 0.9 m, beginning at the first mean). At least 2 rows are accepted,
    those with the highest p.

    In a mapping the first tensor may be the labels, as behind the default collate of Transformers: give
    `inputs` there. The form of the assistant and of the average is our choice, not the paper's. Every
    process trains its own, on its own rows. Loops of one's own that only use the engine call
    `selector.look(ids, data)` before `selector.choose(ids)`.

    Signal: loss. Memory: 0 bytes a sample, and 12 for each number of the assistant's input.
    Choice: a draw for each row. Cost: no forward beyond training, and none of rows that are not accepted; the
    assistant's FLOPs are charged in units of one forward, as `torch.utils.flop_counter` counts them.
    """
    return AutoAssist(base, lr, inputs)
