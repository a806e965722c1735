"""Writes static.parquet and always.parquet for dynamic-1.toml: what a run of the part `original` selected.

python studies/seeds/stored_sets.py small|paper FOLDER [OUT], where FOLDER has the data of the study.
"""

import sys
from pathlib import Path

import torch

import samplewise as sw
from samplewise.bench import Study
from samplewise.bench.train import Task, train
from samplewise.recipes import parse

STUDY = Path(__file__).parent / "dynamic-1.toml"
SEED = 1000
"""Not one of the judged seeds."""
ALWAYS = 0.15
"""The share of the samples that the paper finds always selected."""


def store(scale: str, data: str, out: Path) -> None:
    """Train once, then write the samples of the highest final scores, and those selected most often."""
    study = Study.load(STUDY, scale=scale, part="original", data=data)
    (method,), settings, images = study.spec.methods, study.settings, study.trainer.data
    torch.set_num_threads(settings.threads or 1)
    policy = parse(method)
    run = train(Task(method, policy, SEED, images, settings), out / "stored_sets.pt")
    table, n = run.selector.table(), len(images)
    (score,) = (column for name, column in table.columns.items() if column.ndim == 1 and len(column) == n)
    for name, values, k in (
        ("static", score, round(0.3 * n)),
        ("always", table.times_selected, round(ALWAYS * n)),
    ):
        ids = torch.argsort(values.double(), descending=True, stable=True)[:k].sort().values
        sw.Subset(ids, provenance={"n": n, "method": method}).to_parquet(out / f"{name}.parquet")
    (out / "stored_sets.pt").unlink(missing_ok=True)


if __name__ == "__main__":
    store(sys.argv[1], sys.argv[2], Path(sys.argv[3] if len(sys.argv) > 3 else "."))
