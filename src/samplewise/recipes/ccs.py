"""Coverage-centric selection: equal shares of the strata of a score (CCS, arXiv:2210.15809)."""

from dataclasses import replace
from typing import Annotated

from samplewise import pickers
from samplewise.checks import Range, Share, nearest
from samplewise.policy import REGISTRY, Policy, recipe

__all__ = ["ccs", "measured_by"]


@recipe(paper="arXiv:2210.15809", level="static", source="training")
def ccs(
    keep: Share = 0.5,
    beta: Annotated[float | None, Range(0, 1, open_high=True)] = None,
    strata: Annotated[int, Range(1, 65_536)] = 50,
    score: str = "aum",
    balance: bool = False,
) -> Policy:
    """Drop the hardest share `beta`, cut the other scores into strata of equal width, draw equally from each.

    The smallest stratum comes first. A stratum with fewer samples than its share gives all of them, and the
    other strata divide the rest. `score` is any static method with a score of its own. It is recorded, and
    becomes final, as in that method. The hardest samples are those with the highest scores as stored here
    (for `aum` the lowest margins). An infinite score counts as the largest finite score plus 1.

    `beta=None` takes the value published for CIFAR-10 at the nearest share dropped: 0, 0, 0.1, 0.1,
    0.3 for 30, 50, 70, 80, 90 %. If `beta` leaves fewer samples than `keep` needs, that is an error.
    The official code multiplies the maximum by 1.0001 to close the last stratum. That fails for a negative
    maximum, so here the last stratum includes its upper end.

    Signal: that of `score`. Memory: 4 bytes a sample. Choice: a uniform draw in each stratum.
    Cost: that of `score`; for `aum` no forward beyond training.
    """
    measured = measured_by(score, keep, "ccs")
    strata_of_scores = pickers.Strata(keep, beta=beta, strata=strata)
    return replace(measured, picker=strata_of_scores.balanced(balance), weighting="none")


def measured_by(score: str, keep: float, owner: str) -> Policy:
    """The policy that records `score` for another method. One that depends on the share kept gets `keep`.

    Raises:
        ValueError: if `score` is not a static method with a score of its own.
    """
    able = [name for name, made in REGISTRY.items() if made.level == "static" and name not in ("ccs", owner)]
    if score in able:
        made = REGISTRY[score]
        policy = made(keep=keep) if "keep" in made.signature.parameters else None
        if isinstance(policy, Policy) and policy.signals and policy.picker and not policy.picker.ranks:
            return policy
    raise ValueError(
        f"{owner}.score must be the name of a static method that has a score, such as 'aum' or 'el2n', "
        f"got {score!r}.{nearest(score, able) if score not in able else ''}"
    )
