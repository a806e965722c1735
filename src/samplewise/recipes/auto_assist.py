"""AutoAssist: a small assistant predicts which losses are large, so that most other rows need no forward."""

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
    exempt={"one_rank_equals_two": "each row is accepted by its own draw, so the number of rows varies"},
)
def auto_assist(
    base: Annotated[float, Range(0, 1)] = 0.3,
    lr: Annotated[float, Range(0, open_low=True)] = 0.01,
    inputs: Literal["batch"] | Callable[[Any], Tensor] = "batch",
) -> AutoAssist:
    """Accept each row with probability base + (1 - base) p, where an assistant predicts p of a large loss.

    The assistant is a logistic regression that is trained during the training of the model. Its input is
    the flattened first tensor of the batch's data, or what the function `inputs` returns for the data: (b, p)
    floats or whole numbers, with the same p in every batch. The input is standardised by the moments of all
    inputs so far. The one-hot label is appended where labels are known (`Selector(labels=...)`, or the
    labels of the data set).

    After each batch the assistant makes one gradient step with learning rate `lr` on the rows that trained.
    Its target for a row is whether the loss was above a moving average of the batches' mean losses (m <- 0.1
    mean + 0.9 m, starting from the first mean). At least 2 rows are accepted: if the draws accept fewer, the
    rows with the highest p are added.

    In a mapping the first tensor may be the labels, for example with the default collate of Transformers.
    Give `inputs` in that case. The form of the assistant and of the average is our choice, not that of the
    paper. Every process trains its own assistant on its own rows. If your loop uses only the engine,
    call `selector.look(ids, data)` before `selector.choose(ids)`.

    Signal: loss. Memory: 0 bytes a sample, and 12 for each number of the assistant's input. Choice: a draw
    for each row. Cost: no forward beyond training, and no forward of rows that are not accepted. The
    assistant's FLOPs are charged in units of one forward, as `torch.utils.flop_counter` counts them.
    """
    return AutoAssist(base, lr, inputs)
