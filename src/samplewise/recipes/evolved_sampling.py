"""Evolved Sampling: batches drawn by a decoupled average of the loss (ES and ESWP, arXiv:2509.23461)."""

from typing import Annotated

from samplewise import pickers, signals, trackers
from samplewise.checks import Range
from samplewise.pickers import Keep
from samplewise.policy import Policy, recipe
from samplewise.schedules import Annealed, complement
from samplewise.trackers import Rate, Tracker

__all__ = ["eswp", "evolved_sampling"]

Anneal = Annotated[float, Range(0, 0.5, open_high=True)]


def _memory(beta1: Rate, beta2: Rate) -> Tracker:
    # The paper's betas are weights of the OLD value: w = beta1 s + (1 - beta1) l with the s of the
    # visit before, then s <- beta2 s + (1 - beta2) l. Algorithm 1 prints the two lines swapped.
    return trackers.DecoupledEma(rate=complement(beta2), weight_rate=complement(beta1))


@recipe(paper="arXiv:2509.23461", level="batch", source="training")
def evolved_sampling(
    keep: Keep = 0.25, beta1: Rate = 0.2, beta2: Rate = 0.9, anneal: Anneal = 0.05
) -> Policy:
    """Draw `keep` of every meta-batch without replacement, P ~ w, and train on their plain mean loss.

    w = beta1 s + (1 - beta1) loss, s <- beta2 s + (1 - beta2) loss, s = 1/n at the start. Every row trains in
    the first and the last `anneal` share of the epochs (whole epochs, at least one). Scores are updated there
    too. beta1 = 0 is `loss_sampling`. beta1 = beta2 is a single average.

    Signal: loss. Memory: 8 bytes a sample. Choice: weighted draw.
    Cost: one scoring forward over every meta-batch outside annealing.
    """
    return Policy(
        signal=signals.loss,
        tracker=_memory(beta1, beta2),
        batch_picker=pickers.Weighted(Annealed(keep, share=anneal)),
        source="training",
    )


@recipe(paper="arXiv:2509.23461", level="epoch+batch", source="training")
def eswp(
    keep: Keep = 0.25,
    keep_epoch: Keep = 0.8,
    beta1: Rate = 0.2,
    beta2: Rate = 0.8,
    anneal: Anneal = 0.05,
) -> Policy:
    """Evolved Sampling with pruning: each epoch first draws a `keep_epoch` share of the samples, P ~ s.

    The meta-batches come from this share. It is drawn again, without replacement, in every epoch outside
    annealing, by the score s and not by w. Samples that are left out keep their s. Everything else is as in
    `evolved_sampling`.

    Signal: loss. Memory: 8 bytes a sample. Choice: weighted draws, of the epoch and of each batch.
    Cost: one scoring forward over every meta-batch outside annealing.
    """
    return Policy(
        signal=signals.loss,
        tracker=_memory(beta1, beta2),
        picker=pickers.Weighted(Annealed(keep_epoch, share=anneal), by="score"),
        batch_picker=pickers.Weighted(Annealed(keep, share=anneal)),
        source="training",
    )
