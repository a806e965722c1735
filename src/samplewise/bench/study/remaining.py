"""How long the missing runs of a study will take, from those that have finished."""

from collections import defaultdict
from statistics import fmean

from samplewise.bench.study.plan import Plan

__all__ = ["seconds_left"]


def seconds_left(plan: Plan, jobs: int = 1, slower: float = 1.0) -> float | None:
    """The wall-clock seconds of the missing runs; None before the first row.

    A run takes as long as finished runs of its method and length. Without one, it has the cost of full
    training of its length, at the mean seconds per unit of cost.

    Args:
        plan: of the study.
        jobs: processes that run at the same time.
        slower: the time of runs on this machine, tests and start included, divided by what their rows say.
    """
    rows = list(plan.rows)
    unit = plan.unit()
    if not rows:
        return None
    known: dict[tuple[str, int], list[float]] = defaultdict(list)
    for row in rows:
        known[row["method"], row["epochs"]].append(row["wall"])
    rate = sum(row["wall"] for row in rows) / sum(row["cost"] for row in rows)
    epoch = rate * (unit or fmean(row["cost"] / row["epochs"] for row in rows))
    wanted = [
        fmean(known[job.method, job.epochs]) if (job.method, job.epochs) in known else job.epochs * epoch
        for job in plan.missing()
    ]
    return slower * max(sum(wanted) / jobs, max(wanted, default=0.0))
