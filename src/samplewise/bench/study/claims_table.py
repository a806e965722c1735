"""The answers to the claims of a study, for the terminal, as Markdown and as JSON."""

from collections.abc import Iterator
from dataclasses import asdict
from math import isfinite
from typing import Any

from samplewise.bench.judge.paired import ALPHA, FEWEST
from samplewise.bench.study.answers import Answered, Compared
from samplewise.bench.study.results import Results
from samplewise.bench.study.table import places

__all__ = ["documents", "lines", "markdown", "needs", "note", "words"]

_MANY = 10_000
"""More seeds than these are not counted out."""


def words(pair: Compared, delta: float) -> str:
    """The answer of a comparison, with its reason.

    Args:
        pair: the comparison.
        delta: the smallest difference that matters.
    """
    if pair.answer is None:
        return f"no answer: {pair.why}"
    if pair.word == "does not hold here":
        reason = f"the difference is less than {delta:g}" if pair.answer.equal else "it is worse"
        return f"{pair.word}: {reason}"
    if pair.word == "holds here":
        inside = f", inside ±{delta:g}" if pair.answer.inside else ""
        return f"{pair.word}{inside}{', at a higher cost' if pair.dearer else ''}"
    return pair.word


def needs(pair: Compared, delta: float) -> str:
    """What would decide a comparison; empty if it is decided, or has no result."""
    answer = pair.answer
    if answer is None or answer.word in ("holds here", "does not hold here"):
        return ""
    digits, parts = places(delta), []
    if answer.word == "too few seeds":
        parts.append(f"at least {FEWEST} seeds")
    if answer.spread == 0:
        parts.append(f"other runs: the difference is {answer.mean:+.{digits}f} in every seed")
    if answer.needed is not None:
        seeds = f"{answer.needed} seeds" if answer.needed <= _MANY else f"more than {_MANY:,} seeds"
        parts.append(f"{seeds} for a difference of {answer.mean:+.{digits}f}")
    if answer.spread and isfinite(answer.detectable):
        parts.append(f"with {answer.seeds} seeds a difference of {answer.detectable:.{digits}f}")
    return "; ".join(parts)


def lines(results: Results) -> Iterator[str]:
    """The claims as text, each with its comparisons on lines that begin with spaces."""
    for claim in results.claims:
        yield f"{_cited(claim)}: {claim.word}"
        for pair in claim.pairs:
            answer, *others = _cells(pair, results).items()
            shown = [answer[1], *(f"{name} {text}" for name, text in others if text)]
            yield f"  {results.shown(pair.better)} against {results.shown(pair.than)}: {'; '.join(shown)}"


def markdown(results: Results) -> str:
    """A section with a table of all comparisons; empty without claims."""
    if not results.claims:
        return ""
    heads = ("claim", "said to be better", "than", *_cells(results.claims[0].pairs[0], results))
    rows = [
        (
            _cited(claim),
            results.shown(pair.better),
            results.shown(pair.than),
            *_cells(pair, results).values(),
        )
        for claim in results.claims
        for pair in claim.pairs
    ]
    table = [heads, ["---"] * len(heads), *rows]
    text = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table)
    return f"## Claims\n\n{text}\n\n{note(results)}"


def note(results: Results) -> str:
    """What the numbers of the claims mean."""
    family = sum(pair.answer is not None for claim in results.claims for pair in claim.pairs)
    opposite = " The sign is changed: above 0 is better." if results.axis.sign < 0 else ""
    return (
        "Claims: the mean difference of two methods, seed by seed, in the judged result, with its 95 % "
        f"interval (Student's t, not adjusted).{opposite} Paired t tests at level {ALPHA:g}; Holm's "
        f"correction covers all {family} comparisons. A claim also does not hold if differences of "
        f"{results.delta:g} or more are excluded. Corrected for the cost: each method minus full training of "
        "its own cost, where the costs differ by more than 1 %. To decide: the seeds that find the observed "
        "difference with power .8, and the difference that the given seeds find."
    )


def documents(results: Results) -> list[dict[str, Any]]:
    """The claims as JSON has them, with the texts of their answers."""
    return [
        asdict(claim)
        | {"word": claim.word}
        | {
            "pairs": [
                asdict(pair)
                | {"dearer": pair.dearer, "unequal": pair.unequal}
                | {"words": words(pair, results.delta), "needs": needs(pair, results.delta)}
                for pair in claim.pairs
            ]
        }
        for claim in results.claims
    ]


def _cited(claim: Answered) -> str:
    return f"{claim.says} ({claim.source})" if claim.source else claim.says


def _cells(pair: Compared, results: Results) -> dict[str, str]:
    """The texts of a comparison by their headers, the answer first."""
    digits, answer = places(results.delta), pair.answer
    cells = dict.fromkeys(("answer", "difference", "costs", "corrected for the cost", "to decide"), "")
    cells["answer"] = words(pair, results.delta)
    if answer is None:
        return cells
    cells["difference"] = _with_interval(answer.mean, answer.interval, digits)
    if pair.costs is not None:
        cells["costs"] = " and ".join(f"{100 * cost:.1f} %" for cost in pair.costs)
    if pair.unequal:
        cells["corrected for the cost"] = "outside the ladder"
        if pair.corrected is not None and pair.corrected_interval is not None:
            cells["corrected for the cost"] = _with_interval(pair.corrected, pair.corrected_interval, digits)
    cells["to decide"] = needs(pair, results.delta)
    return cells


def _with_interval(mean: float, interval: tuple[float, float], digits: int) -> str:
    ends = f" ({interval[0]:+.{digits}f} to {interval[1]:+.{digits}f})" if isfinite(interval[0]) else ""
    return f"{mean:+.{digits}f}{ends}"
