"""Coverage-centric selection: equal shares of the strata of a score (CCS, arXiv:2210.15809)."""

from dataclasses import replace
from typing import Annotated

from samplewise import pickers
from samplewise.checks import Range, nearest
from samplewise.policy import REGISTRY, Policy, recipe

__all__ = ["ccs"]


@recipe(paper="arXiv:2210.15809", level="static", source="training")
def ccs(
    keep: Annotated[float, Range(0, 1, open_low=True)] = 0.5,
    beta: Annotated[float | None, Range(0, 1, open_high=True)] = None,
    strata: Annotated[int, Range(1, 65_536)] = 50,
    score: str = "aum",
    balance: bool = False,
) -> Policy:
    """Drop the hardest share `beta`, cut the scores of the rest into equal widths, draw equally from each.

    The strata are visited from the smallest; one that has fewer than its share gives all it has and
    the others divide what remains. `score` is any static method with a score of its own: it is
    recorded, and becomes final, as that method's. Hardest are its highest scores as stored here (for
    `aum` the lowest margins); an infinite one counts as the greatest finite one plus 1.
    `beta=None` is the cut-off published for CIFAR-10 at the nearest share dropped: 0, 0, 0.1, 0.1, 0.3
    for 30, 50, 70, 80, 90 %; a cut-off that leaves fewer than are to be kept is an error.
    The official code stretches the last stratum by 1.0001 x the maximum, which fails when the maximum is
    negative; here the last stratum is closed.

    Signal: that of `score`. Memory: 4 bytes a sample. Choice: a uniform draw in each stratum.
    Cost: that of `score`; for `aum` no forward beyond training.
    """
    measured = _measured(score, keep)
    inner = pickers.Strata(keep, beta=beta, strata=strata)
    return replace(measured, picker=pickers.PerClass(inner) if balance else inner, weighting="none")


def _measured(score: str, keep: float) -> Policy:
    """The policy whose score is taken; `keep` matters to methods that record by the share kept."""
    able = [name for name, made in REGISTRY.items() if made.level == "static" and name != "ccs"]
    if score in able:
        made = REGISTRY[score]
        policy = made(keep=keep) if "keep" in made.signature.parameters else None
        if isinstance(policy, Policy) and policy.signals and policy.picker and not policy.picker.ranks:
            return policy
    raise ValueError(
        f"ccs.score must name a static method with a score of its own, such as 'aum' or 'el2n', "
        f"got {score!r}.{nearest(score, able) if score not in able else ''}"
    )
