"""CoLoR-Filter: sequences whose loss falls the most under a model of the target (arXiv:2406.10670)."""

from pathlib import Path
from typing import Any

import torch

from samplewise.checks import Share
from samplewise.pickers import Given, ranking
from samplewise.policy import Policy, recipe
from samplewise.recipes.rho_tokens import toy_targets
from samplewise.subset import Subset
from samplewise.tokens import ReferenceLosses
from samplewise.tokens.reference import stored_losses

__all__ = ["color"]


_WRITTEN = "color:conditional=after.parquet,marginal=before.parquet"


def _toy(n: int) -> Any:
    targets = toy_targets(torch.arange(n))
    place = torch.arange(targets.numel()).float().view_as(targets)
    after, before = (ReferenceLosses.of(1 + wave(place), targets) for wave in (torch.sin, torch.cos))
    return color(after, before, keep=0.4)


@recipe(paper="arXiv:2406.10670", level="static", source="none", toy=_toy)
def color(
    conditional: ReferenceLosses | str | Path | None = None,
    marginal: ReferenceLosses | str | Path | None = None,
    keep: Share = 0.25,
) -> Policy:
    """Train on the `keep` share of the sequences with the largest conditional loss reduction.

    A small model, the marginal one, is trained on data like the training set. The conditional model is this
    model after more training on data of the target. The score of a sequence is its loss under the marginal
    model less its loss under the conditional one. Both are means over the tokens of the sequence. The paper
    compares sums of sequences of one length, which gives the same order. Compute both losses once with
    `sw.reference_losses`. The paper's tau is 1 / keep. Sequences without tokens come last, equal scores are
    ordered by id.

    Signal: none. Memory: 0 bytes a sample. Choice: top-k.
    Cost: one forward of each of the two models over all sequences, once, and no forward beyond training.
    """
    after = stored_losses(conditional, "color.conditional", _WRITTEN)
    before = stored_losses(marginal, "color.marginal", _WRITTEN)
    before.refuse_other_tokens(after, "color.marginal", "color.conditional")
    score, n = before.row_means() - after.row_means(), len(before)
    score[before.lengths() == 0] = float("-inf")
    spent = [losses.provenance.get("scoring") or {} for losses in (after, before)]
    cost = {name: sum(each.get(name, 0.0) for each in spent) for name in ("cost", "seconds", "flops")}
    chosen = ranking.top(score, ranking.budget(n, keep, 1))
    return Policy(picker=Given(Subset(chosen, provenance={"n": n, "keep": keep, "scoring": cost})), final=0)
