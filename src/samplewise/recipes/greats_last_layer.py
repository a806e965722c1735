"""GREATS in its last-layer form: rows whose gradient lowers the loss of a small target set (NeurIPS 2024)."""

from samplewise import last_layer, pickers, trackers
from samplewise.pickers import Keep
from samplewise.policy import Policy, recipe

__all__ = ["greats_last_layer"]


@recipe(paper="NeurIPS 2024 (GREATS)", level="batch", source="training")
def greats_last_layer(keep: Keep = 0.5) -> Policy:
    """Back-propagate the rows of every meta-batch that lower the loss of a target set, by the last layer.

    Give the target set, such as 32 samples of what the training is for, as `Scoring(target=...)`. The score
    of row i is the mean over target rows v of (p_i - e_i) . (p_v - e_v) times h_i . h_v, or h_i . h_v + 1 if
    the head has a bias, with probabilities p, one-hot targets e and inputs h of the head. This is the product
    of the row's gradient with the mean gradient of the target set, both of plain cross-entropy in the last
    layer. A small step on a row with a high score lowers the target set's loss.

    GREATS (openreview 232VcN8tSx) takes such products over all layers, and lowers the score of rows that
    resemble rows chosen before. OPUS (arXiv:2602.05400) also accounts for what the optimizer makes of a
    gradient, and draws rows. Here only the last layer counts, and the rows with the highest scores are taken.
    No study of ours has judged the method.

    Forward must return logits, targets, features and head. Logits of tokens are refused. In epochs that do
    not score, such as those between with `Scoring(every=k)`, the stored scores choose.

    Signal: product of last-layer gradients. Memory: 4 bytes a sample. The target set's gradient has c w
    numbers for c classes and w inputs of the head, or m (c + w) for m target rows if these are fewer.
    Choice: top-k. Cost: one scoring forward over every meta-batch, and one over the target set in each step.
    """
    return Policy(
        signal=last_layer.target_product,
        tracker=trackers.Last(),
        batch_picker=pickers.TopK(keep),
        source="training",
    )
