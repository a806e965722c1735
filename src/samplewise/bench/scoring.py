"""`samplewise score`: one scoring run per seed records all static methods; their tables are combined."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from samplewise.bench import coreset, experiment, rngstate
from samplewise.bench.altered import altered, noise_note
from samplewise.bench.folder import SCORING, RunFolder
from samplewise.bench.kinds import Kind, Listener
from samplewise.bench.methods import split
from samplewise.bench.settings import Settings
from samplewise.coresets.choose import ranked_column
from samplewise.coresets.from_file import file_of
from samplewise.coresets.recorder import Recorder
from samplewise.coresets.table import ScoreTable
from samplewise.policy import Policy


def columns(settings: Settings) -> dict[str, Policy]:
    """Map columns to methods. A column is named after the recipe, or the whole spec if two share a recipe."""
    written = settings.policies()
    for spec, policy in written.items():
        if policy.level != "static":
            raise ValueError(f"--method must be a static method, but {spec} is of level {policy.level}")
        if coreset.keep_of(policy) == 1:
            raise ValueError(f"--method {spec} keeps every sample, so it has no scores. Leave it out")
        if settings.seeds > 1 and ranked_column(policy) == "order":
            raise ValueError(
                f"--method {spec} ranks samples by the order of picking. The orders of several runs cannot "
                "be combined, so use --runs 1"
            )
    recipes = [policy.name for policy in written.values()]
    return {
        policy.name if recipes.count(policy.name) == 1 else coreset.column(spec): policy
        for spec, policy in written.items()
    }


def run(path: Path, settings: Settings, listener: Listener, kind: Kind) -> ScoreTable:
    """Do every unfinished scoring run in the folder `path`, and combine the tables of all runs.

    All runs use the label noise of seed 0, so they score the same data.

    Args:
        path: of the folder.
        settings: of the command, complete.
        listener: is told of the progress.
        kind: what a training takes.
    """
    policies, folder = columns(settings), RunFolder(path)
    data = altered(experiment.prepare(folder, settings, kind), settings, 0)
    for row in folder.scorings().values():
        listener.scored(row)
    with rngstate.kept():
        for seed in range(settings.seeds):
            if seed in folder.scorings():
                continue
            listener.began(SCORING, seed)
            task = kind.scoring(SCORING, Recorder(policies), seed, data, settings)
            listener.scored(_one_run(task, policies, folder, listener, kind))
    tables = [ScoreTable.read(folder.scores(SCORING, seed)) for seed in range(settings.seeds)]
    return tables[0] if len(tables) == 1 else ScoreTable.combine(tables, settings.combine)


def _one_run(
    task: Any, policies: Mapping[str, Policy], folder: RunFolder, listener: Listener, kind: Kind
) -> dict[str, Any]:
    done = kind.score(task, folder.checkpoint(SCORING, task.seed), listener.stepped)
    table = done.selector.table()
    # A method of a file is known by the text that names the file, and not by its own name.
    texts = dict(zip(policies, (split(spec)[0] for spec in task.settings.policies()), strict=True))
    table.provenance["methods"].update({name: text for name, text in texts.items() if file_of(text)})
    table = replace(table, provenance={**table.provenance, **noise_note(task.settings, 0)})
    table.to_parquet(folder.scores(SCORING, task.seed))
    row = coreset.scoring_row(done, {name: {} for name in policies})
    folder.finish_scoring(row)
    return row
