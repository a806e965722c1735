"""Scores without coresets: one training a seed that records every static method, combined into one table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samplewise.bench import coreset, experiment, rngstate
from samplewise.bench.folder import SCORING, RunFolder
from samplewise.bench.settings import Settings
from samplewise.bench.train import Task
from samplewise.coresets.choose import ranked_column
from samplewise.coresets.recorder import Recorder
from samplewise.coresets.table import ScoreTable
from samplewise.policy import Policy


def columns(settings: Settings) -> dict[str, Policy]:
    """The methods by the name of their column: the recipe's, or as written where two share one."""
    written = settings.policies()
    for spec, policy in written.items():
        if policy.level != "static":
            raise ValueError(f"--method {spec} is of level {policy.level}: only static methods are scored")
        if coreset.keep_of(policy) == 1:
            raise ValueError(f"--method {spec} keeps every sample, so there is nothing to score")
        if settings.seeds > 1 and ranked_column(policy) == "order":
            raise ValueError(
                f"--method {spec} picks one sample after the other: orders of several runs do not combine, "
                "so use --runs 1"
            )
    recipes = [policy.name for policy in written.values()]
    return {
        policy.name if recipes.count(policy.name) == 1 else spec: policy for spec, policy in written.items()
    }


def run(path: Path, settings: Settings, listener: experiment.Listener) -> ScoreTable:
    """Do every scoring run that is left in the folder `path`, and combine the tables of all.

    Label noise is that of seed 0 in every run, so that they score the same data.
    """
    policies, folder = columns(settings), RunFolder(path)
    data = experiment.noisy(experiment.prepare(folder, settings), settings, 0)
    for row in folder.scorings().values():
        listener.scored(row)
    with rngstate.kept():
        for seed in range(settings.seeds):
            if seed in folder.scorings():
                continue
            listener.began(SCORING, seed)
            task = Task(SCORING, Recorder(policies), seed, data, settings)
            listener.scored(_one_run(task, policies, folder, listener))
    tables = [ScoreTable.read(folder.scores(SCORING, seed)) for seed in range(settings.seeds)]
    return tables[0] if len(tables) == 1 else ScoreTable.combine(tables, settings.combine)


def _one_run(
    task: Task, policies: Mapping[str, Policy], folder: RunFolder, listener: experiment.Listener
) -> dict[str, Any]:
    done = coreset.score(task, folder.checkpoint(SCORING, task.seed), listener.stepped)
    done.selector.table().to_parquet(folder.scores(SCORING, task.seed))
    row = coreset.scoring_row(done, {name: {} for name in policies})
    folder.finish_scoring(row)
    return row
