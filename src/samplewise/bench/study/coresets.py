"""The coreset that a run of a study trains on, chosen by a scoring run that several runs share."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import filelock

from samplewise.bench import coreset, files
from samplewise.bench.coreset import AnyTask
from samplewise.bench.settings import Settings
from samplewise.bench.study.jobs import canonical, digest
from samplewise.policy import Policy
from samplewise.subset import Subset

__all__ = ["on_coreset"]


def on_coreset(
    task: AnyTask, shared: Settings, task_digest: str, work: Path, score: Callable[[Any, Path], Any]
) -> tuple[AnyTask, float]:
    """The task on the coreset that a scoring run chose, and the CPU seconds of that run.

    A method at several keeps has one scoring run, which is found in the work folder the next time. It trains
    with the study's settings, and not with those of the method's own run.

    Args:
        task: of a static method.
        shared: the settings of the study, with all of its methods.
        task_digest: of the study's task.
        work: the folder for scoring runs.
        score: does or continues the scoring run, with a path for its checkpoint.
    """
    static: dict[str, Policy] = coreset.static_methods(shared)
    leads = coreset.leaders(static)
    if task.method in leads:
        static = {name: p for name, p in static.items() if leads.get(name) == leads[task.method]}
    key = digest([task_digest, *sorted(map(str, map(canonical, static))), task.seed])
    folder = work / f"scoring-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "seconds.json"
    with filelock.FileLock(folder / ".lock"):
        if not done.exists():
            checkpoint = folder / "checkpoint.pt"
            run = score(coreset.scoring_task(replace(task, settings=shared), static), checkpoint)
            for name, subset in coreset.subsets(run, static, shared).items():
                subset.to_parquet(folder / f"{digest(canonical(name))}.parquet")
            files.write_json(done, {"cpu": run.cpu})
            checkpoint.unlink(missing_ok=True)
        seconds = float(json.loads(done.read_text())["cpu"])
    subset = Subset.read(folder / f"{digest(canonical(task.method))}.parquet")
    return coreset.on_subset(task, subset), seconds if task.method in leads else 0.0
